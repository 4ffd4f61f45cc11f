"""Imports from many hosts: a slow one has its share of the threads, and no more."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext

from gallery.importers.urls import Urls
from gallery.imports import ahead, engine, ledger
from gallery.imports.ahead import Ahead
from gallery.models import ImportRun, ItemState, RunState
from tests.gallery.downloads.servers import Server, serving
from tests.images import make_images
from tests.rows import make_user
from tests.workers import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

SHARE = 3


@pytest.fixture(autouse=True)
def own_network(settings):
    settings.DOWNLOAD_PRIVATE_ADDRESSES = True
    settings.DOWNLOAD_HOST_CONCURRENCY = SHARE
    settings.DOWNLOAD_HOST_INTERVAL_SECONDS = 0


@pytest.fixture
def quick():
    """A server that answers at once, each address with another image."""

    def answer(asked) -> None:
        number = int(asked.path.strip("/"))
        asked.answer(200, make_images.sound("PNG", width=20 + number, height=20))

    with serving(answer) as server:
        yield server


@pytest.fixture
def slow():
    """A server that answers when the test says so."""
    may_answer = threading.Event()

    def answer(asked) -> None:
        may_answer.wait(300)
        number = int(asked.path.strip("/"))
        asked.answer(200, make_images.sound("PNG", width=20, height=30 + number))

    with serving(answer) as server:
        server.may_answer = may_answer
        yield server
        may_answer.set()


def listed(tmp_path: Path, *urls: str) -> ImportRun:
    file = tmp_path / "urls.txt"
    file.write_text("\n".join(urls))
    return ledger.start(Urls(file=str(file)), make_user())


@pytest.fixture
def working(slow):
    """Work on a run in a thread, which ends with the test."""
    stop = threading.Event()
    threads = []

    def begin(run: ImportRun) -> tuple[threading.Thread, threading.Event]:
        def work() -> None:
            try:
                engine.work(run, goes_on=lambda: not stop.is_set())
            finally:
                connections.close_all()

        threads.append(threading.Thread(target=work))
        threads[-1].start()
        return threads[-1], stop

    yield begin
    stop.set()
    slow.may_answer.set()
    for thread in threads:
        thread.join(120)


def urls(server: Server, n: int) -> list[str]:
    return [f"{server.url}/{number}" for number in range(n)]


def new(run: ImportRun, server: Server) -> int:
    return run.items.filter(state=ItemState.NEW, url__startswith=server.url).count()


@pytest.mark.parametrize("most_held", [ahead.MOST_HELD, 10])
def test_a_slow_host_does_not_hold_up_the_others(
    tmp_path, slow, quick, working, monkeypatch, most_held
):
    monkeypatch.setattr(ahead, "MOST_HELD", most_held)
    run = listed(tmp_path, *urls(slow, 60), *urls(quick, 40))
    import_, _ = working(run)
    # All of the quick one's, which come last in the list, while none of the slow one's is there.
    wait_until(lambda: new(run, quick) == 40)
    assert new(run, slow) == 0
    assert len(set(slow.paths)) == SHARE  # each perhaps more than once: it is silent for long
    begun = run.items.filter(state=ItemState.WAITING, attempts__gt=0)
    assert begun.count() == SHARE  # so a death here would blame no others
    slow.may_answer.set()
    import_.join(120)
    run.refresh_from_db()
    assert (run.state, new(run, slow)) == (RunState.DONE, 60)


def test_what_was_read_ahead_is_blamed_for_nothing(tmp_path, slow, working):
    run = listed(tmp_path, *urls(slow, 60))
    import_, stop = working(run)
    wait_until(lambda: len(set(slow.paths)) == SHARE)
    stop.set()
    slow.may_answer.set()
    import_.join(120)
    assert not run.items.filter(state=ItemState.WAITING, attempts__gt=0).exists()


def test_a_long_list_of_one_host_is_not_read_again_and_again(tmp_path, monkeypatch):
    monkeypatch.setattr(ahead, "MOST_HELD", 32)
    run = listed(tmp_path, *(f"https://example.org/{n}" for n in range(200)))
    run.items.model.objects.bulk_create(
        [
            run.items.model(run=run, key=str(n), url=f"https://example.org/{n}", about={})
            for n in range(200)
        ]
    )
    waiting = Ahead(run, share=1)
    first = waiting.next([], is_idle=True)
    assert first.key == "0"
    assert waiting.next([first], is_idle=False) is None
    assert len(waiting) == 63
    with CaptureQueriesContext(connection) as asked:
        assert waiting.next([first], is_idle=False) is None
    assert not any("~*" in query["sql"] for query in asked)  # it is not time to look again
    assert waiting.next([], is_idle=True).key == "1"


@pytest.mark.parametrize(
    ("odd", "may_begin"),
    [("http://[x", True), ("http://\u0130x.com/", False), ("http://a\tb.com/", False)],
)
def test_a_list_of_odd_addresses_is_not_held_in_memory_as_a_whole(
    tmp_path, monkeypatch, odd, may_begin
):
    monkeypatch.setattr(ahead, "MOST_HELD", 32)
    run = listed(tmp_path, odd)
    run.items.model.objects.bulk_create(
        [run.items.model(run=run, key=str(n), url=f"{odd}{n}", about={}) for n in range(200)]
    )
    waiting = Ahead(run, share=1)
    first = waiting.next([], is_idle=True)
    second = waiting.next([first], is_idle=False)
    assert (second is not None) == may_begin
    assert len(waiting) <= 63
