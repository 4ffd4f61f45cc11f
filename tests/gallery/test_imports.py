"""The ledger and its engine: whatever dies, each item is there once or says why not."""

from __future__ import annotations

import errno
import io
import os
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest
from django.db import OperationalError, connection, connections, transaction
from django.utils import timezone

from gallery import ingest, texts
from gallery.descriptions import Description
from gallery.duplicates import verdicts
from gallery.errors import ImageRefused, StorageUnavailable
from gallery.importers import Item, ItemUnreadable, Skipped, Source, SourceUnreadable, registry
from gallery.importers.folder import Folder
from gallery.imports import engine, leases, ledger, listing, restarts, sent, tasks
from gallery.imports.errors import DatabaseAway, ImportBusy, ImportInvalid, ImportRefused, LeaseLost
from gallery.ingest import NewImage, add_image
from gallery.models import Image, ImportItem, ImportRun, ItemState, RunState, Verdict
from gallery.removal import delete_images
from tests.gallery import commands
from tests.images import make_images
from tests.rows import make_user
from tests.workers import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


class Made(Source):
    """Images that are made as they are opened, and all that can be wrong with a source."""

    kind: ClassVar[str] = "made"

    count: int = 5
    names: tuple[str, ...] = ()
    version: str = "1"
    breaks_at: int = -1  # listing ends there
    caption: str = ""
    tags: tuple[str, ...] = ()

    # Not options, which the ledger could not hold.
    odd_names: ClassVar[tuple[str, ...]] = ()
    odd_caption: ClassVar[str] = ""

    opened: ClassVar[list[str]] = []
    refuses: ClassVar[dict[str, Exception]] = {}

    @property
    def title(self) -> str:
        return f"{self.count} images"

    @property
    def place(self) -> str:
        return self.kind

    def items(self):
        names = self.odd_names or self.names or map(str, range(self.count))
        for number, key in enumerate(names):
            if number == self.breaks_at:
                raise SourceUnreadable("The cable is out: plug it in.")
            if key.startswith("skip"):
                yield Skipped(key=key, reason="It is not wanted.")
                continue
            about = Description(caption=self.odd_caption or self.caption, tags=self.tags)
            yield Item(key=key, name=f"{key}.png", version=self.version, about=about)

    def open(self, key: str):
        self.opened.append(key)
        if key in self.refuses:
            raise self.refuses[key]
        seed = int(key) if key.isdecimal() else len(key)
        return io.BytesIO(make_images.sound("PNG", width=20 + seed, height=20))


@pytest.fixture(autouse=True)
def made(monkeypatch):
    monkeypatch.setitem(registry.SOURCES, "made", Made)
    monkeypatch.setattr(Made, "opened", [])
    monkeypatch.setattr(Made, "refuses", {})
    monkeypatch.setattr("gallery.imports.storing.PAUSE_SECONDS", 0.01)


def start(source: Source, **options) -> ImportRun:
    return ledger.start(source, make_user(), **options)


def brought_in(source: Source, **options) -> ImportRun:
    run = start(source, **options)
    engine.work(run)
    return run


def states(run: ImportRun) -> dict[str, int]:
    return {state: n for state, n in ledger.counts(run).items() if n}


def by_name(run: ImportRun) -> dict[str, tuple[str, str]]:
    return {
        key: (state, reason)
        for key, state, reason in run.items.values_list("key", "state", "reason")
    }


def files() -> list[Path]:
    from django.conf import settings

    return [path for path in Path(settings.MEDIA_ROOT).rglob("*") if path.is_file()]


# One run


def test_each_item_has_a_row_that_says_what_became_of_it():
    Made.refuses["3"] = ItemUnreadable("It is behind a wall.")
    run = brought_in(Made(names=("0", "1", "1x", "3", "skip me")))
    assert by_name(run) == {
        "0": ("new", ""),
        "1": ("new", ""),
        "1x": ("new", ""),
        "3": ("failed", "It is behind a wall."),
        "skip me": ("skipped", "It is not wanted."),
    }
    assert run.state == RunState.DONE
    assert run.finished_at
    assert {name: n for name, n in run.tally.items() if n} == states(run)
    assert ledger.progress(run).total == 5


def test_bytes_that_are_there_already_are_told_with_their_image():
    image, _ = add_image(
        NewImage(file=Made().open("7"), owner=make_user(), original_name="mine.png")
    )
    run = brought_in(Made(names=("7",)))
    assert states(run) == {"held": 1}
    assert run.items.get().image == image


def test_what_is_said_of_all_and_of_one_comes_together():
    run = brought_in(
        Made(count=1, caption="A door"), defaults=Description(tags=("house",), caption="Any")
    )
    image = run.items.get().image
    assert (image.caption, image.tags.get().name) == ("A door", "house")
    assert run.items.get().about == {}


def test_tags_of_all_come_first_and_what_is_too_much_is_kept_beside_them():
    own = tuple(f"t{number:02}" for number in range(50))
    run = brought_in(Made(count=1, tags=own), defaults=Description(tags=("house", "t49")))
    image = run.items.get().image
    names = set(image.tags.values_list("name", flat=True))
    assert (len(names), names & {"house", "t49", "t48"}) == (50, {"house", "t49"})
    assert image.metadata["more_tags"] == ["t48"]


def test_an_empty_source_is_done():
    assert brought_in(Made(count=0)).state == RunState.DONE


def test_names_that_the_ledger_cannot_hold_fail_with_a_sentence_and_harm_no_other(monkeypatch):
    monkeypatch.setattr(Made, "odd_names", ("0", "nul\x00", "latin\udce9", "1"))
    run = brought_in(Made())
    assert states(run) == {"new": 2, "failed": 2}
    reasons = set(run.items.filter(state="failed").values_list("reason", flat=True))
    assert reasons == {"Its name is not valid text (UTF-8 without NUL): rename it."}


@pytest.mark.parametrize("caption", ["a\x00b", "half \ud800", "x" * 600_000, "y" * 20_000])
def test_what_cannot_be_said_of_an_image_fails_its_item(caption, monkeypatch):
    monkeypatch.setattr(Made, "odd_caption", caption)
    run = brought_in(Made(count=1))
    assert states(run) == {"failed": 1}
    assert run.items.get().reason
    assert not Image.objects.exists()


def test_a_name_of_four_thousand_bytes_is_imported():
    run = brought_in(Made(names=("n" * 4000,)))
    assert states(run) == {"new": 1}
    assert len(run.items.get().key) == 4000


def test_many_more_items_than_a_batch_are_listed(monkeypatch):
    monkeypatch.setattr(listing, "BATCH", 7)
    assert states(brought_in(Made(count=40))) == {"new": 40}


def test_items_that_are_called_the_same_count_once():
    assert states(brought_in(Made(names=("5", "5", "5")))) == {"new": 1}


@pytest.mark.parametrize("path", ["nul\x00", "latin\udce9"])
def test_a_source_whose_name_the_ledger_cannot_hold_is_refused_with_a_sentence(path):
    with pytest.raises(SourceUnreadable, match="not valid text"):
        start(Made(names=(path,)))


# The same again


def test_a_second_run_opens_nothing_and_changes_nothing():
    brought_in(Made(count=20))
    before = list(Image.objects.order_by("pk").values())
    Made.opened.clear()
    run = brought_in(Made(count=20))
    assert states(run) == {"held": 20}
    assert Made.opened == []
    assert list(Image.objects.order_by("pk").values()) == before


def test_a_second_run_opens_what_changed_what_is_gone_and_what_failed():
    Made.refuses["2"] = ItemUnreadable("Not today.")
    first = brought_in(Made(count=4))
    delete_images(Image.objects.filter(pk=first.items.get(key="1").image_id))
    Made.refuses.clear()
    Made.opened.clear()
    run = brought_in(Made(count=4))
    assert sorted(Made.opened) == ["1", "2"]
    assert states(run) == {"new": 2, "held": 2}

    Made.opened.clear()
    run = brought_in(Made(count=4, version="2"))
    assert len(Made.opened) == 4
    assert states(run) == {"held": 4}  # by their bytes


def test_another_owner_s_run_is_of_no_help():
    brought_in(Made(count=2))
    run = ledger.start(Made(count=2), make_user("ben"))
    engine.work(run)
    assert states(run) == {"new": 2}


def test_a_version_that_cannot_be_told_is_opened_each_time():
    brought_in(Made(count=2, version=""))
    Made.opened.clear()
    assert states(brought_in(Made(count=2, version=""))) == {"held": 2}
    assert len(Made.opened) == 2


# Pausing, stopping, going on


def test_a_source_that_breaks_off_stops_the_run_with_its_sentence_and_it_goes_on():
    run = brought_in(Made(count=9, breaks_at=4))
    assert run.state == RunState.BROKEN
    assert run.failure == "The cable is out: plug it in."
    assert not run.is_listed
    assert not run.items.filter(attempts__gt=1).exists()
    ImportRun.objects.update(options={"count": 9})
    run.refresh_from_db()
    ledger.resume(run)
    engine.work(run)
    assert (run.state, run.failure, states(run)) == (RunState.DONE, "", {"new": 9})


def test_a_full_disk_stops_the_run_and_loses_nothing(monkeypatch):
    real = engine.Storer.store

    def full(self, item, file):
        if item.key in {"3", "4"}:
            raise StorageUnavailable("The files cannot be stored: no space left on device.")
        return real(self, item, file)

    for _ in range(4):  # more often than an item may fail for its own sake
        with monkeypatch.context() as patched:
            patched.setattr(engine.Storer, "store", full)
            run = ImportRun.objects.first() or start(Made(count=6))
            ledger.resume(run)
            engine.work(run)
        assert run.state == RunState.BROKEN
        assert "no space left" in run.failure
    ledger.resume(run)
    engine.work(run)
    assert (run.state, states(run)) == (RunState.DONE, {"new": 6})


def test_options_that_are_wrong_by_now_stop_the_run():
    run = start(Made())
    ImportRun.objects.update(options={"colour": "red"})
    run.refresh_from_db()
    engine.work(run)
    assert run.state == RunState.BROKEN
    assert "colour" in run.failure


def test_a_run_is_paused_from_elsewhere_and_resumed():
    run, told = start(Made(count=200)), []

    def tell(news):
        told.append(news)
        if news.progress.done and run.state == RunState.RUNNING:
            ledger.pause(ImportRun.objects.get(pk=run.pk))

    engine.work(run, tell=tell)
    assert run.state == RunState.PAUSED
    after_pause = states(run)
    assert 0 < after_pause["waiting"] < 200
    assert not run.items.filter(state="waiting", attempts__gt=0).exists()
    with pytest.raises(ImportBusy, match="This import is paused"):
        engine.work(run)
    ledger.resume(run)
    engine.work(run)
    assert states(run) == {"new": 200}
    assert Counter(Made.opened).most_common(1)[0][1] == 1  # each was opened once in both turns


def test_work_ends_when_it_is_told_to_and_another_process_goes_on():
    run, turns = start(Made(count=60)), iter([True] * 3)
    engine.work(run, goes_on=lambda: next(turns, False))
    assert run.state == RunState.RUNNING
    assert run.lease_token is None
    engine.work(run)
    assert states(run) == {"new": 60}


def test_what_people_press_twice_happens_once():
    run = start(Made(count=1))
    twin = ImportRun.objects.get(pk=run.pk)
    ledger.pause(run)
    ledger.pause(twin)
    ledger.resume(run)
    ledger.resume(twin)
    engine.work(run)
    twin.refresh_from_db()
    for change in (ledger.pause, ledger.resume):
        with pytest.raises(ImportRefused, match="This import is done"):
            change(twin)
    ledger.undo(run)
    ledger.undo(twin)
    engine.work(run)
    twin.refresh_from_db()
    ledger.undo(twin)
    assert (twin.state, states(twin)) == (RunState.UNDONE, {"undone": 1})


def test_only_what_failed_is_retried():
    Made.refuses |= {"1": ItemUnreadable("Not now."), "2": ItemUnreadable("Never.")}
    run = brought_in(Made(count=4))
    Made.opened.clear()
    del Made.refuses["1"]
    assert ledger.retry_failed(run) == 2
    engine.work(run)
    assert sorted(Made.opened) == ["1", "2"]
    assert states(run) == {"new": 3, "failed": 1}
    assert run.state == RunState.DONE


def test_a_paused_run_is_not_begun_by_a_retry():
    run = start(Made(count=2))
    ledger.pause(run)
    run.items.create(key="x", state=ItemState.FAILED)
    with pytest.raises(ImportRefused, match="This import is paused: it cannot be retried"):
        ledger.retry_failed(run)
    assert states(run) == {"failed": 1}


def test_a_stopped_run_is_not_begun_by_a_retry():
    Made.refuses["0"] = ItemUnreadable("Not now.")
    run = brought_in(Made(count=9, breaks_at=4))
    assert run.state == RunState.BROKEN
    with pytest.raises(ImportRefused, match=r"cannot be retried\. Resume it first"):
        ledger.retry_failed(run)
    # Its command has died.
    ImportRun.objects.update(state=RunState.RUNNING)
    with pytest.raises(ImportRefused, match="has ended: resume it first"):
        ledger.retry_failed(run, is_unattended=True)
    assert states(run) == {"new": 3, "failed": 1}


def test_what_came_to_the_source_since_a_crash_is_seen():
    run = start(Made(count=2))
    leases.take(run).keep(is_listed=True)  # and dies
    ImportRun.objects.update(lease_until=timezone.now())
    run.refresh_from_db()
    ledger.resume(run)
    engine.work(run)
    assert states(run) == {"new": 2}


def test_the_letters_that_spell_nul_are_no_nul():
    said = "a \\u0000 b"
    run = brought_in(Made(count=1, caption=said))
    assert run.items.get().image.caption == said
    assert texts.metadata({"said": said}) == {"said": said}
    with pytest.raises(ImageRefused, match="NUL"):
        texts.metadata({"said": "a \\\0 b"})


def test_too_many_open_files_stop_the_run_and_fail_no_item(monkeypatch):
    def full(self, item, file):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(engine.Storer, "_store", full)
    run = brought_in(Made(count=2))
    assert (run.state, states(run)) == (RunState.BROKEN, {"waiting": 2})
    assert "Too many open files" in run.failure


def test_rows_that_another_process_took_keep_the_tally_right():
    lease = leases.take(start(Made()))
    lease.tally.update({"held": -1})  # taken between a count and the news of it
    row = listing.row_of(Item(key="0", name="0.png"))
    reader = SimpleNamespace(take=lambda **_: [row])
    storer = engine.Storer(lease.run, Made())
    work = engine._Work(lease, storer, reader, None, lambda _news: None)
    work._list()
    assert (lease.tally["waiting"], lease.tally["held"]) == (1, -1)


def test_threads_end_when_one_of_them_cannot_be_started(monkeypatch):
    real, calls = ThreadPoolExecutor.submit, []

    def submit(self, *arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise RuntimeError("no more")
        return real(self, *arguments)

    monkeypatch.setattr(ThreadPoolExecutor, "submit", submit)
    with pytest.raises(RuntimeError, match="no more"), engine._threads(2):
        pass
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("import")]


def test_a_retry_that_comes_as_the_run_ends_is_not_lost():
    Made.refuses["0"] = ItemUnreadable("Not now.")
    run = start(Made(count=1))

    def tell(news):
        if news.progress.by_state.get("failed") and Made.refuses:
            Made.refuses.clear()
            ledger.retry_failed(ImportRun.objects.get(pk=run.pk))

    engine.work(run, tell=tell)
    while run.state in ledger.ACTIVE:
        engine.work(run)
    assert states(run) == {"new": 1}


def test_a_retry_while_the_run_goes_on_is_counted_at_once(monkeypatch):
    monkeypatch.setattr(leases, "TICK_SECONDS", 0.05)
    monkeypatch.setattr(leases, "IDLE_TICK_SECONDS", 0.05)
    Made.refuses["0"] = ItemUnreadable("Not now.")
    is_retried = threading.Event()
    real, told = Made.open, []

    def open_(self, key):
        if key == "1":
            assert is_retried.wait(60)
        return real(self, key)

    def tell(news):
        by_state = news.progress.by_state
        told.append(dict(by_state))
        if by_state["failed"] and Made.refuses:
            Made.refuses.clear()
            ledger.retry_failed(ImportRun.objects.get(pk=run.pk))
        if by_state["new"]:
            is_retried.set()

    monkeypatch.setattr(Made, "open", open_)
    run = start(Made(count=2))
    engine.work(run, tell=tell)
    assert min(n for one in told for n in one.values()) == 0
    assert {"waiting": 1, "new": 1} in [{name: n for name, n in one.items() if n} for one in told]
    assert states(run) == {"new": 2}


def test_a_run_stays_ours_until_what_is_in_progress_is_finished(monkeypatch):
    """A video, or a slow download, takes longer than a lease."""
    monkeypatch.setattr(leases, "TICK_SECONDS", 0.1)
    monkeypatch.setattr(leases, "IDLE_TICK_SECONDS", 0.1)
    is_open, is_over, taken = threading.Event(), threading.Event(), []
    real = Made.open

    def open_(self, key):
        is_open.set()
        assert is_over.wait(120)
        return real(self, key)

    def leased_until():
        return ImportRun.objects.get(pk=run.pk).lease_until

    def take():
        try:
            is_open.wait(60)
            # Not a lease so short that it is over: a machine that stands still would end it.
            longer = leased_until() + timezone.timedelta(seconds=1)
            wait_until(lambda: leased_until() > longer)
            taken.append(leases.take(ImportRun.objects.get(pk=run.pk)))
        except ImportBusy as error:
            taken.append(str(error))
        finally:
            is_over.set()
            connections.close_all()

    monkeypatch.setattr(Made, "open", open_)
    run = start(Made(count=1))
    other = threading.Thread(target=take)
    other.start()
    engine.work(run, goes_on=lambda: not is_open.is_set())
    other.join()
    assert taken == ["Another process works on this import."]
    assert states(run) == {"new": 1}


def test_what_a_sleeper_lists_is_not_written_when_its_run_is_another_s():
    run = start(Made(count=2))
    leases.take(run)
    rows = [listing.row_of(item) for item in Made(count=2).items()]
    ImportRun.objects.update(lease_until=timezone.now())  # it slept for longer than a lease
    other = ImportRun.objects.get(pk=run.pk)
    ledger.undo(other)
    engine.work(other)
    assert other.state == RunState.UNDONE
    listing.write(run, rows)
    assert states(run) == {}


def test_what_goes_while_it_is_stored_fails_its_item_with_a_sentence():
    run = start(Made(count=1))
    item = run.items.create(key="0", name="0.png")
    run.owner.delete()  # it stays in memory
    outcome = engine.Storer(run, Made(count=1)).open_and_store(item)
    assert outcome.reason == "What it belongs to is just being deleted: try it again."
    assert (Image.objects.count(), files()) == (0, [])


def test_a_disk_that_hiccups_is_asked_again(monkeypatch):
    asked = Counter()
    real = Made.open

    def flaky(self, key):
        asked[key] += 1
        if asked[key] < 3:
            raise OSError(5, "Input/output error")
        return real(self, key)

    monkeypatch.setattr(Made, "open", flaky)
    assert states(brought_in(Made(count=2))) == {"new": 2}
    asked["0"] = asked["1"] = -100
    run = brought_in(Made(count=2, version="2"))
    assert by_name(run)["0"] == ("failed", "The file cannot be read: Input/output error.")


def test_a_dry_run_opens_all_and_stores_nothing():
    brought_in(Made(count=2))
    Made.refuses["3"] = ItemUnreadable("Not now.")
    run = brought_in(Made(count=5, version="2"), is_dry_run=True)
    assert states(run) == {"held": 2, "new": 2, "failed": 1}
    assert Image.objects.count() == 2
    with pytest.raises(ImportRefused, match="A dry run has brought nothing"):
        ledger.undo(run)
    assert states(brought_in(Made(count=3))) == {"held": 2, "new": 1}


# Undoing


def test_undoing_removes_what_the_run_brought_and_nothing_else():
    mine, _ = add_image(NewImage(file=Made().open("1"), owner=make_user()))
    earlier = brought_in(Made(names=("2",)))
    run = brought_in(Made(count=5))
    assert states(run) == {"new": 3, "held": 2}
    ledger.undo(run)
    engine.work(run)
    assert run.state == RunState.UNDONE
    assert states(run) == {"undone": 3, "held": 2}
    assert set(Image.objects.values_list("pk", flat=True)) == {
        mine.pk,
        earlier.items.get().image_id,
    }
    assert len(files()) == 2 * 3


def test_undoing_leaves_an_image_that_took_the_place_of_others():
    run = brought_in(Made(count=2))
    kept = Image.objects.earliest("pk")
    verdicts.remember(
        kept.owner_id,
        [(kept.sha256, "f" * 64)],
        Verdict.REPLACED,
        kept=kept.sha256,
        by=None,
    )
    ledger.undo(run)
    engine.work(run)
    assert run.state == RunState.UNDONE
    assert Image.objects.get() == kept


def test_undoing_is_broken_off_and_gone_on_with(monkeypatch):
    monkeypatch.setattr("gallery.imports.undoing.BATCH", 3)
    run = brought_in(Made(count=10))
    ledger.undo(run)
    turns = iter([True, True])
    engine.work(run, goes_on=lambda: next(turns, False))
    assert run.state == RunState.UNDOING
    assert 0 < Image.objects.count() < 10
    engine.work(run)
    assert (run.state, Image.objects.count(), files()) == (RunState.UNDONE, 0, [])


def test_a_run_that_is_begun_in_the_moment_of_an_undoing_gives_way():
    earlier = brought_in(Made(count=1))
    run = start(Made(count=1))
    is_undone, is_over = threading.Event(), threading.Event()

    def undo():
        with transaction.atomic():
            ImportRun.objects.select_for_update().get(pk=run.pk)
            ledger.undo(earlier)
            is_undone.set()
            assert is_over.wait(60)
        connections.close_all()

    def is_waited_for():
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity "
                "WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            return cursor.fetchone()[0]

    def let_go():
        wait_until(is_waited_for)
        is_over.set()
        connections.close_all()

    threads = [threading.Thread(target=undo), threading.Thread(target=let_go)]
    threads[0].start()
    is_undone.wait(60)
    threads[1].start()
    # What it looks for, it looks for as of before the undoing; it waits for its own row.
    with pytest.raises(ImportBusy, match="is being undone first"):
        leases.take(run)
    for thread in threads:
        thread.join()
    run.refresh_from_db()
    assert run.lease_token is None
    leases.take(earlier)


def test_an_image_that_was_sent_again_by_hand_survives_the_undoing():
    run = brought_in(Made(count=1))
    delete_images(Image.objects.all())
    again, _ = add_image(NewImage(file=Made().open("0"), owner=make_user()))
    ledger.undo(run)
    engine.work(run)
    assert Image.objects.get() == again


def test_what_is_being_undone_takes_no_image_any_more():
    """The process that imports was thought dead, and stores one more item after the undoing."""
    run = start(Made(count=2))
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    reader = listing.Reader(Made(count=2))
    wait_until(lambda: listing.write(run, reader.take(seconds=1)) is not None)
    item = run.items.first()
    storer = engine.Storer(run, Made(count=2))
    ledger.undo(run)
    engine.work(run)
    assert storer.open_and_store(item).state is None
    assert (Image.objects.count(), files()) == (0, [])


def test_an_undo_that_somebody_pressed_is_not_overwritten():
    run = start(Made(count=1))
    lease = leases.take(run)
    ledger.undo(run)
    assert not lease.end(RunState.BROKEN, failure="The cable is out.")
    assert not lease.end(RunState.DONE)
    run.refresh_from_db()
    assert run.state == RunState.UNDOING
    assert lease.end(RunState.UNDONE)


def test_what_is_being_undone_is_not_found_to_be_there_already():
    earlier = brought_in(Made(count=3))
    ledger.undo(earlier)
    run = start(Made(count=3))
    with pytest.raises(ImportBusy, match="is being undone first"):
        engine.work(run)
    other = ledger.start(Made(count=1), make_user("ben"))
    engine.work(other)
    engine.work(earlier)
    engine.work(run)
    assert states(run) == {"new": 3}
    assert Image.objects.count() == 4


def test_an_import_gives_way_to_the_undoing_of_another_which_waits_for_it(monkeypatch):
    monkeypatch.setattr(leases, "TICK_SECONDS", 0.05)
    earlier = brought_in(Made(count=2))
    run = start(Made(count=200, version="2"))

    def tell(news):
        if news.progress.done and earlier.state == RunState.DONE:
            ledger.undo(earlier)
            with pytest.raises(ImportBusy):
                engine.work(earlier)

    engine.work(run, tell=tell)
    assert run.state == RunState.RUNNING
    assert states(run)["waiting"]
    engine.work(earlier)
    engine.work(run)
    assert (earlier.state, run.state) == (RunState.UNDONE, RunState.DONE)


# Two at once


def test_one_process_at_a_time_works_on_a_run():
    run = start(Made(count=1))
    lease = leases.take(run)
    with pytest.raises(ImportBusy, match="Another process works on this import"):
        engine.work(ImportRun.objects.get(pk=run.pk))
    lease.give_back()
    engine.work(run)
    assert run.state == RunState.DONE


@pytest.mark.parametrize("hours", [-1, 2])
def test_a_dead_process_s_lease_ends_even_when_the_clock_is_moved(hours):
    run = start(Made(count=1))
    leases.take(run)
    until = timezone.now() + timezone.timedelta(hours=hours)
    ImportRun.objects.update(lease_until=until)
    engine.work(run)
    assert run.state == RunState.DONE


def test_two_imports_of_the_same_folder_at_once_bring_each_image_once(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(40):
        data = make_images.sound("PNG", width=30 + number, height=20)
        (folder / f"{number}.png").write_bytes(data)
    runs = [start(Folder(path=str(folder))) for _ in range(2)]

    def work(run):
        engine.work(run)
        connections.close_all()

    threads = [threading.Thread(target=work, args=[run]) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Image.objects.count() == 40
    assert len(files()) == 3 * 40
    assert sum((Counter(states(run)) for run in runs), Counter()) == {"new": 40, "held": 40}


def test_two_processes_at_one_run_bring_each_image_once(monkeypatch):
    """The first one's lease was taken from it while it lived."""
    run = start(Made(count=60))
    monkeypatch.setattr(leases, "TICK_SECONDS", 0.05)
    errors = []

    def work():
        try:
            engine.work(ImportRun.objects.get(pk=run.pk))
        except Exception as error:  # noqa: BLE001 - told below
            errors.append(error)
        finally:
            connections.close_all()

    first = threading.Thread(target=work)
    first.start()
    wait_until(lambda: Image.objects.count() > 3)
    is_taken = False
    while not is_taken:  # the first one may have given a sign of life in between
        ImportRun.objects.update(lease_until=None)
        with suppress(ImportBusy):
            engine.work(ImportRun.objects.get(pk=run.pk))
            is_taken = True
    first.join()
    assert [type(error).__name__ for error in errors] == ["LeaseLost"]
    assert Image.objects.count() == 60
    assert states(run) == {"new": 60}


def test_no_thread_and_no_connection_stays_behind():
    def count_connections():
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity "
                "WHERE datname = current_database() AND backend_type = 'client backend'"
            )
            return cursor.fetchone()[0]

    before = count_connections()
    brought_in(Made(count=10))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("import")]
    wait_until(lambda: count_connections() <= before)


# What kills and what is away


def test_an_item_that_kills_its_process_is_failed_and_the_others_come_in():
    run = start(Made(count=3))
    reader = listing.Reader(Made(count=3))
    wait_until(lambda: listing.write(run, reader.take(seconds=1)) is not None)
    run.items.filter(key="1").update(attempts=3)
    engine.work(run)
    assert states(run) == {"new": 2, "failed": 1}
    assert "died 3 times with this file open" in run.items.get(key="1").reason


def test_a_source_that_kills_its_process_stops_the_run(settings):
    run = start(Made(count=2))
    for _ in range(settings.JOB_MAX_ATTEMPTS):
        leases.take(run)  # and dies
        ImportRun.objects.update(lease_until=timezone.now())
    engine.work(run)
    assert run.state == RunState.BROKEN
    assert "died 3 times while its source was being read" in run.failure
    ledger.resume(run)
    engine.work(run)
    assert (run.state, states(run)) == (RunState.DONE, {"new": 2})


def test_deaths_with_progress_between_them_stop_no_run(settings):
    run = start(Made(count=2))
    reader = listing.Reader(Made(count=2))
    for number in range(2 * settings.JOB_MAX_ATTEMPTS):
        lease = leases.take(run)
        if number % 2:
            listing.write(run, [listing.row_of(Item(key=f"more {number}", name="more.png"))])
            lease.recount()
            lease.keep()
        ImportRun.objects.update(lease_until=timezone.now())
    reader.stop()
    engine.work(run)
    assert run.state == RunState.DONE


def test_a_source_that_raises_what_nobody_expects_stops_the_run(monkeypatch, caplog):
    def items(self):
        yield Item(key="0", name="0.png")
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr(Made, "items", items)
    run = brought_in(Made())
    assert run.state == RunState.BROKEN
    assert run.failure == (
        "The source cannot be read: ZeroDivisionError; the server's log tells more."
    )
    assert states(run) == {"new": 1}
    assert "Traceback" in caplog.text


def test_items_that_were_open_at_a_death_come_one_by_one():
    run = start(Made(count=8))
    reader = listing.Reader(Made(count=8))
    wait_until(lambda: listing.write(run, reader.take(seconds=1)) is not None)
    run.items.filter(key__in=["1", "2", "3"]).update(attempts=1)
    engine.work(run)
    assert Made.opened[-3:] == ["1", "2", "3"]
    assert states(run) == {"new": 8}


def test_a_database_that_is_away_is_waited_for(monkeypatch):
    monkeypatch.setattr(restarts, "PAUSE_SECONDS", 0.05)
    tried = []

    def act():
        tried.append(1)
        with connection.cursor() as cursor:
            if len(tried) < 3:
                cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
            cursor.execute("SELECT 7")
            return cursor.fetchone()[0]

    assert restarts.patient(act) == 7
    assert len(tried) == 3
    tried.clear()
    with pytest.raises(DatabaseAway, match="Nothing is lost"):
        restarts.patient(lambda: (tried.clear(), act()), seconds=0.2)


def test_connections_that_are_cut_all_the_time_cost_no_image():
    run = start(Made(count=60))
    is_over = threading.Event()

    def cut():
        pause = 0.15
        while not is_over.wait(pause):
            pause *= 1.02  # so that what is done between two comes to its end on a slow machine
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE "
                    "datname = current_database() AND pid <> pg_backend_pid()"
                )
        connections.close_all()

    thread = threading.Thread(target=cut)
    thread.start()
    try:
        engine.work(run)
    finally:
        is_over.set()
        thread.join()
        connection.close()  # it was cut, too
    assert run.state == RunState.DONE
    assert states(run) == {"new": 60}
    images = Image.objects.all()
    assert len(images) == 60
    for image in images:
        for field in (image.file, image.thumbnail_small, image.thumbnail_large):
            assert Path(field.path).is_file()


def test_a_connection_that_is_lost_after_the_commit_costs_no_file(monkeypatch):
    monkeypatch.setattr(restarts, "PAUSE_SECONDS", 0.01)
    real, lost = ingest._store_rows, []

    def store_rows(image, new, note, undo):
        real(image, new, note, undo)
        if not lost:
            lost.append(image)
            raise OperationalError("the connection was lost")

    monkeypatch.setattr(ingest, "_store_rows", store_rows)
    run = brought_in(Made(count=2))
    assert states(run) == {"new": 2}
    assert len(files()) == 3 * Image.objects.count() == 6


KILLED_WHILE_STORING = """
import os
from gallery.imports import storing
real = storing._note
stored = []
def note(item, added):
    real(item, added)
    stored.append(item)
    if len(stored) == 9:
        os.kill(os.getpid(), 9)  # its image and its row are written, and not committed
storing._note = note
"""

KILLED_WHILE_LISTING = """
import os
from gallery.imports import listing
listing.BATCH = 10
real = listing.write
written = []
def write(run, items):
    result = real(run, items)
    written.append(items)
    if len(written) == 2:
        os.kill(os.getpid(), 9)
    return result
listing.write = write
"""


@pytest.mark.slow
@pytest.mark.parametrize("program", [KILLED_WHILE_STORING, KILLED_WHILE_LISTING])
def test_a_killed_import_goes_on_and_each_image_is_there_once(tmp_path, program, monkeypatch):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(45):
        data = make_images.sound("PNG", width=30 + number, height=20)
        (folder / f"{number}.png").write_bytes(data)
    (folder / "broken.png").write_bytes(b"no image")
    make_user("admin", is_superuser=True)
    killed = commands.start("import_images", "folder", folder, "--no-wait", program=program)
    killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL
    run = ImportRun.objects.get()
    assert run.state == RunState.RUNNING
    # Neither an image without its row, nor the reverse; a thread's last commit may be under way.
    wait_until(lambda: states(run).get("new", 0) == Image.objects.count())
    assert Image.objects.count() < 45

    ImportRun.objects.update(lease_until=timezone.now())  # half a minute later
    again = commands.start("import_images", "folder", folder, "--no-wait")
    out, err = again.communicate(timeout=120)
    assert again.returncode == 1, err
    assert "45 new, 0 already there, 1 failed." in out
    assert ImportRun.objects.count() == 1
    assert Image.objects.count() == 45
    assert states(run) == {"new": 45, "failed": 1}


@pytest.mark.slow
def test_undoing_goes_on_after_its_process_was_killed(tmp_path):
    make_user("admin", is_superuser=True)
    run = ledger.start(Made(count=30), make_user("admin"))
    engine.work(run)
    program = """
import os
from gallery.imports import undoing
undoing.BATCH = 5
real = undoing.delete_images
done = []
def delete_images(images):
    done.append(real(images))
    if len(done) == 3:
        os.kill(os.getpid(), 9)
undoing.delete_images = delete_images
"""
    killed = commands.start("imports", "undo", run.pk, program=program)
    killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert Image.objects.count() == 20
    ImportRun.objects.update(lease_until=timezone.now())
    engine.work(run)
    assert (run.state, Image.objects.count()) == (RunState.UNDONE, 0)


# The worker


def test_a_command_s_import_that_died_is_handed_to_the_worker():
    run = start(Made(count=2))
    lease = leases.take(run)
    assert not ledger.is_left_alone(run)
    ImportRun.objects.update(lease_until=timezone.now())
    run.refresh_from_db()
    assert ledger.is_left_alone(run)
    ledger.resume(run, is_unattended=True)
    tasks.work_on_waiting()
    assert states(run) == {"new": 2}
    with pytest.raises(LeaseLost):
        lease.keep()


def test_the_worker_takes_up_what_a_page_has_started_and_nothing_else():
    mine = start(Made(count=3))
    theirs = start(Made(count=3, version="2"), is_unattended=True)
    assert tasks.work_on_waiting() == 1
    mine.refresh_from_db()
    theirs.refresh_from_db()
    assert (mine.state, theirs.state) == (RunState.WAITING, RunState.DONE)
    assert tasks.work_on_waiting() == 0
    ledger.undo(theirs)
    ledger.undo(mine)
    assert tasks.work_on_waiting() == 2
    assert not Image.objects.exists()


def test_the_worker_works_on_imports_in_turn(monkeypatch):
    monkeypatch.setattr(tasks, "SECONDS_AT_ONCE", 0.3)
    runs = [start(Made(count=300, version=str(n)), is_unattended=True) for n in range(2)]
    begun = set()
    for _ in range(4):
        first = tasks.next_run()
        begun.add(first.pk)
        tasks.work_on_waiting()
    assert begun == {run.pk for run in runs}


def test_sent_sources_are_removed_when_nobody_needs_them(settings):
    file = io.BytesIO(b"http://a.example/1.png")
    kept = [sent.keep(file, f"../{n}.txt", make_user()) for n in range(5)]
    assert {one.path.name for one in kept} == {f"{n}.txt" for n in range(5)}
    assert oct(kept[0].path.parent.stat().st_mode)[-3:] == "700"
    old = timezone.now() - timezone.timedelta(days=8)
    states = [("done", old), ("done", timezone.now()), ("paused", None), ("done", timezone.now())]
    for n, (one, (state, finished_at)) in enumerate(zip(kept, states, strict=False)):
        run = start(Made())
        if n < 2:  # these can be retried
            ImportItem.objects.create(run=run, key="a", name="a", state=ItemState.FAILED)
        ImportRun.objects.filter(pk=run.pk).update(
            upload=one.folder, state=state, finished_at=finished_at
        )
    long_ago = time.time() - 3 * 86_400
    os.utime(kept[4].path.parent, (long_ago, long_ago))
    assert sent.remove_old() == 3
    assert [one.path.exists() for one in kept] == [False, True, True, False, False]


@pytest.mark.parametrize("state", [RunState.PAUSED, RunState.BROKEN])
def test_what_was_sent_for_a_run_that_stands_still_is_removed_and_that_is_told(state):
    kept = sent.keep(io.BytesIO(b"http://a.example/1.png"), "list.txt", make_user())
    run = start(Made(count=1))
    old = timezone.now() - timezone.timedelta(days=8)
    ImportRun.objects.update(upload=kept.folder, state=state, lease_until=old)
    assert sent.remove_old() == 1
    run.refresh_from_db()
    ledger.resume(run)
    engine.work(run)
    assert run.state == RunState.BROKEN
    assert run.failure == "What was sent is kept for 7 days and is gone: send it again."


def test_a_sent_source_that_is_too_large_leaves_nothing_behind(settings):
    settings.IMPORT_UPLOAD_BYTES = 10
    with pytest.raises(ImportInvalid, match="too large"):
        sent.keep(io.BytesIO(b"x" * 11), "list.txt", make_user())
    assert not settings.IMPORT_DIR.exists()


def test_items_of_a_run_are_the_last_word_of_the_ledger():
    run = brought_in(Made(count=3))
    assert ImportItem.objects.filter(run=run, state=ItemState.NEW, image__isnull=False).count() == 3
