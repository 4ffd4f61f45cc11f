"""Sources that list too much, too slowly, or nothing any more."""

from __future__ import annotations

import io
import threading
import time
from typing import ClassVar

import pytest
from django.db import connection

from gallery.descriptions import Description
from gallery.importers import Item, Skipped, Source, SourceAway, registry
from gallery.importers.folder import Folder
from gallery.importers.watch import Watch
from gallery.imports import engine, ledger, listing, outages, sent, tasks
from gallery.imports.half_read import HalfRead
from gallery.models import ImportRun, ItemState, RunState
from tests.images import make_images
from tests.rows import make_user
from tests.workers import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


class Made(Source):
    """Images that are made as they are opened, listed with a pause before each."""

    kind: ClassVar[str] = "made"

    count: int = 5
    name: str = "a"
    pause_seconds: float = 0.0

    listed: ClassVar[list[str]] = []

    @property
    def title(self) -> str:
        return self.name

    def items(self):
        for number in range(self.count):
            time.sleep(self.pause_seconds)
            self.listed.append(f"{self.name} {number}")
            yield Item(key=str(number), name=f"{number}.png")

    def open(self, key: str):
        return io.BytesIO(make_images.sound("PNG", width=20 + int(key), height=20))


@pytest.fixture(autouse=True)
def made(monkeypatch):
    monkeypatch.setitem(registry.SOURCES, "made", Made)
    monkeypatch.setattr(Made, "listed", [])
    monkeypatch.setattr(tasks, "SECONDS_AT_ONCE", 0.5)
    yield
    tasks._half_read.forget()


def start(source: Source, **options) -> ImportRun:
    return ledger.start(source, make_user(), **options)


def brought_in(source: Source) -> ImportRun:
    run = start(source)
    engine.work(run)
    return run


def states(run: ImportRun) -> dict[str, int]:
    return {state: n for state, n in ledger.counts(run).items() if n}


def test_a_listing_that_takes_longer_than_a_turn_goes_on_in_the_next():
    runs = [
        start(Made(count=60, name=str(n), pause_seconds=0.05), is_unattended=True) for n in range(2)
    ]
    begun = []
    for _ in range(100):
        run = tasks.next_run()
        if run is None:
            break
        begun.append(run.pk)
        tasks.work_on_waiting()
    assert begun[:3] == [runs[0].pk, runs[1].pk, runs[0].pk]
    for run in runs:
        run.refresh_from_db()
        assert (run.state, sum(states(run).values())) == (RunState.DONE, 60)
    assert len(Made.listed) == 2 * 60  # nothing was listed twice


def test_what_was_paused_between_two_turns_is_listed_anew():
    run = start(Made(count=60, pause_seconds=0.05), is_unattended=True)
    tasks.work_on_waiting()
    run.refresh_from_db()
    assert (run.state, run.is_listed) == (RunState.RUNNING, False)
    ledger.pause(run)
    ledger.resume(run)
    for _ in range(100):
        tasks.work_on_waiting()
    assert Made.listed.count("a 0") == 2
    run.refresh_from_db()
    assert run.state == RunState.DONE


def test_no_more_is_read_ahead_than_memory_has_room_for(monkeypatch):
    made = []

    def items(self):
        for number in range(1000):
            made.append(number)
            about = Description(metadata={"long": "x" * 400_000})
            yield Item(key=str(number), name="1.png", about=about)

    monkeypatch.setattr(Made, "items", items)
    reader = listing.Reader(Made())
    try:
        wait_until(lambda: len(made) > 15)
        time.sleep(1)
        assert len(made) < 30
        assert len(reader.take(seconds=1)) < 15
    finally:
        reader.stop()


def test_what_was_sent_lists_no_more_entries_than_are_allowed(settings):
    settings.IMPORT_UPLOAD_ITEMS = 5
    run = start(Made(count=6))
    engine.work(run)
    assert run.state == RunState.DONE  # on the command line whoever asks knows what it costs
    sent_run = start(Made(count=6, name="b"))
    sent_run.upload = sent.keep(io.BytesIO(b"x"), "list.txt", make_user()).folder
    sent_run.save()
    engine.work(sent_run)
    assert sent_run.state == RunState.BROKEN
    assert "more than 5 entries" in sent_run.failure
    assert sum(states(sent_run).values()) == 5


def test_a_folder_that_is_empty_and_was_not_is_said_to_be(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    assert brought_in(Folder(path=str(folder))).state == RunState.DONE  # it never had any
    (folder / "1.png").write_bytes(make_images.sound("PNG"))
    (folder / "2.png").write_bytes(make_images.sound("PNG", width=99))
    assert states(brought_in(Folder(path=str(folder)))) == {"new": 2}
    folder.rename(tmp_path / "away")
    folder.mkdir()
    (folder / ".hidden").touch()
    run = brought_in(Folder(path=str(folder)))
    assert run.state == RunState.BROKEN
    assert "The folder is empty, but an import has found 2 files in it before" in run.failure
    folder.joinpath(".hidden").unlink()
    folder.rmdir()
    (tmp_path / "away").rename(folder)
    ledger.resume(run)
    engine.work(run)
    assert (run.state, states(run)) == (RunState.DONE, {"held": 2})


def test_a_watched_folder_that_is_empty_by_now_has_a_row_that_says_so(tmp_path):
    (tmp_path / "inbox").mkdir()
    run = start(Watch(path=str(tmp_path / "inbox")))
    ImportRun.objects.filter(pk=run.pk).update(tally={"new": 3000})
    deadline = time.monotonic() + 60
    engine.work(run, goes_on=lambda: not run.items.exists() and time.monotonic() < deadline)
    (row,) = run.items.all()
    assert row.state == ItemState.SKIPPED
    assert "an import has found 3,000 files in it before" in row.reason


def test_an_import_that_waits_for_its_source_asks_the_database_about_once_a_second(monkeypatch):
    end = threading.Event()

    def items(self):
        yield Item(key="1", name="1.png")
        end.wait(60)

    monkeypatch.setattr(Made, "items", items)
    run = start(Made())
    asked = []

    def count(execute, sql, params, many, context):
        asked.append(time.monotonic())
        return execute(sql, params, many, context)

    began = []

    def goes_on():
        if not began and run.items.filter(state=ItemState.NEW).exists():
            began.append(time.monotonic())
            asked.clear()
        return not began or time.monotonic() < began[0] + 6

    with connection.execute_wrapper(count):
        engine.work(run, goes_on=goes_on)
    end.set()
    quiet = [at for at in asked if began[0] + 2 < at < began[0] + 6]
    assert len(quiet) <= 4 * 3


def away_after(*parts: int):
    """Return how a source lists so many entries and is away, the next time so many, and so on."""
    rest = list(parts)

    def items(self):
        for number in range(rest.pop(0)):
            yield Skipped(key=str(number), reason="not wanted")
        if rest:
            raise SourceAway("The source is away.")

    return items


def test_an_outage_of_a_source_ends_when_it_lists_more(monkeypatch):
    monkeypatch.setattr(outages, "SECONDS", 1.5)
    monkeypatch.setattr(outages, "LONGEST_PAUSE_SECONDS", 1.0)
    monkeypatch.setattr(Made, "items", away_after(1, 2, 3, 4))
    run = brought_in(Made())
    assert (run.state, run.failure, states(run)) == (RunState.DONE, "", {"skipped": 4})


def away(asked):
    def items(self):
        asked.append(self.name)
        raise SourceAway("The source is away.")
        yield

    return items


def test_a_source_that_is_away_is_not_asked_before_its_time(monkeypatch):
    asked_at = []

    def items(self):
        asked_at.append(time.monotonic())
        raise SourceAway("The source is away.")
        yield

    monkeypatch.setattr(Made, "items", items)
    engine.work(start(Made()), goes_on=lambda: len(asked_at) < 2)
    first, second = asked_at
    assert second - first >= 1


def test_a_run_that_waits_takes_no_more_than_its_turn(monkeypatch):
    """However many lists are half read."""
    asked = []
    monkeypatch.setattr(Made, "items", away(asked))
    monkeypatch.setattr(outages, "SECONDS", 60)
    monkeypatch.setattr(tasks, "_half_read", HalfRead(most=0))
    run = start(Made(), is_unattended=True)
    assert tasks.work_on_waiting() == 1
    run.refresh_from_db()
    assert (run.state, run.failure) == (RunState.RUNNING, "Waiting: The source is away.")


def test_what_a_run_waits_for_is_said_again_after_it_was_paused_and_resumed(monkeypatch):
    asked, said = [], []
    monkeypatch.setattr(Made, "items", away(asked))
    run = start(Made())

    def tell(news):
        if news.waits and not said:
            other = ImportRun.objects.get(pk=run.pk)
            ledger.pause(other)
            ledger.resume(other)
            said.append(other.failure)

    engine.work(run, goes_on=lambda: len(asked) < 3, tell=tell)
    assert said == [""]
    run.refresh_from_db()
    assert run.failure == "Waiting: The source is away."


def test_one_that_watches_never_gives_up(monkeypatch):
    monkeypatch.setattr(outages, "SECONDS", -1)
    outages.Outage(is_endless=True).begin(SourceAway("The source is away."))
    with pytest.raises(SourceAway):
        outages.Outage().begin(SourceAway("The source is away."))


def test_a_source_that_is_always_away_after_the_same_entries_is_given_up(monkeypatch):
    monkeypatch.setattr(outages, "SECONDS", 1.5)
    monkeypatch.setattr(outages, "LONGEST_PAUSE_SECONDS", 1.0)
    monkeypatch.setattr(Made, "items", away_after(*[2] * 9))
    run = brought_in(Made())
    assert (run.state, run.failure) == (RunState.BROKEN, "The source is away.")
