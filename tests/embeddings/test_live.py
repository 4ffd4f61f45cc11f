from __future__ import annotations

import random
import threading
import time

import numpy as np
import pytest
from django.db import connection, transaction

from embeddings import live, snapshots
from embeddings.feed import Changes, FeedPosition
from embeddings.indexes import kinds
from embeddings.indexes.contract import ExactIndex
from gallery.models import Image, ImageEmbedding
from tests.rows import make_images, make_space, make_vectors, store, truth
from tests.workers import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

WRITERS = 4
SECONDS = 4


@pytest.fixture
def space(settings):
    settings.INDEX_POLL_SECONDS = 0.05
    live.forget_all()
    return make_space()


def contents(view):
    """Return what a view holds, by image id; of the base, by asking it for each of its vectors."""
    alive = view.base.ids if view.alive is None else view.base.ids[view.alive]
    held = {int(i): None for i in alive}
    held |= {
        int(i): tuple(v) for i, v in zip(view.delta.ids, view.delta.vectors.tolist(), strict=True)
    }
    return held


def write_at_random(space, ids, seed, stop, errors):
    """Insert, update, delete and roll back, as fast as it goes."""
    chance = random.Random(seed)
    try:
        while not stop.is_set():
            some = chance.sample(ids, 5)
            vectors = make_vectors(5, seed=chance.randrange(10**6))
            act = chance.random()
            try:
                with transaction.atomic():
                    # One order of locks for all, so that writers wait and do not deadlock.
                    list(Image.objects.filter(pk__in=some).order_by("pk").select_for_update())
                    if act < 0.6:
                        store(sorted(some), vectors, space)
                    elif act < 0.9:
                        ImageEmbedding.objects.filter(image_id__in=some[:3]).delete()
                    if chance.random() < 0.2:
                        raise InterruptedError
            except InterruptedError:
                pass  # rolled back
    except Exception as error:  # noqa: BLE001  (the main thread judges it)
        errors.append(error)
    finally:
        connection.close()


@pytest.mark.slow
def test_four_writers_at_full_speed_and_the_live_index_equals_postgres(space):
    ids = make_images(200).tolist()
    store(ids[:100], make_vectors(100), space)
    index = live.index_of(ImageEmbedding, space)
    index.refresh()
    stop, errors = threading.Event(), []
    writers = [
        threading.Thread(target=write_at_random, args=(space, ids, seed, stop, errors))
        for seed in range(WRITERS)
    ]
    for writer in writers:
        writer.start()
    deadline, refreshes = time.monotonic() + SECONDS, 0
    while time.monotonic() < deadline or refreshes <= 20:
        index.refresh()
        refreshes += 1
    stop.set()
    for writer in writers:
        writer.join()
    assert errors == []
    assert refreshes > 20
    view, expected = index.refresh(), truth(space)
    held = contents(view)
    assert set(held) == set(expected)
    changed = {image_id: vector for image_id, vector in held.items() if vector is not None}
    assert changed
    assert changed == {image_id: expected[image_id] for image_id in changed}
    for image_id in list(expected)[:50]:
        vector = make_vectors(1)[0] * 0 + expected[image_id]
        (nearest,) = view.search(vector, 1).ids.tolist()
        assert expected[nearest] == expected[image_id]


def test_a_view_at_hand_serves_while_another_thread_refreshes(space):
    index = live.index_of(ImageEmbedding, space)
    first = index.refresh()
    time.sleep(0.2)  # older than two polls
    with index._refreshing:
        assert index.view() is first
    store(make_images(1), make_vectors(1), space)
    assert len(index.view()) == 1


def test_a_search_in_flight_keeps_its_view(space):
    ids, vectors = make_images(10), make_vectors(10)
    store(ids, vectors, space)
    index = live.index_of(ImageEmbedding, space)
    view = index.refresh()
    ImageEmbedding.objects.all().delete()
    assert len(index.refresh()) == 0
    assert len(view.search(vectors[0], 10).ids) == 10


def test_a_truncated_table_is_noticed(space):
    store(make_images(10), make_vectors(10), space)
    index = live.index_of(ImageEmbedding, space)
    assert len(index.refresh()) == 10
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE gallery_imageembedding")
    assert len(index.refresh()) == 0


def view_in_another_thread(index):
    """Return what view() says to a search in another thread, and how many seconds it took."""
    said = []

    def ask():
        started = time.monotonic()
        said.append((index.view(), time.monotonic() - started))
        connection.close()

    asking = threading.Thread(target=ask)
    asking.start()
    asking.join(60)
    return said[0]


def test_a_search_does_not_wait_while_another_thread_loads(space):
    index = live.index_of(ImageEmbedding, space)
    with index._refreshing:
        view, seconds = view_in_another_thread(index)
    assert view is None
    assert seconds < 10


def test_a_process_that_nobody_keeps_current_loads_in_line(space):
    store(make_images(3), make_vectors(3), space)
    assert len(live.index_of(ImageEmbedding, space).view()) == 3


def test_a_view_too_old_is_not_searched(space, settings):
    index = live.index_of(ImageEmbedding, space)
    first = index.refresh()
    time.sleep(0.3)  # older than two polls
    with index._refreshing:
        settings.INDEX_STALE_SECONDS = 60
        assert index.view() is first
        settings.INDEX_STALE_SECONDS = 0.2
        assert index.view() is None
    assert index.view() is not None  # nobody else refreshes: in line


def test_polls_that_are_rare_do_not_make_a_view_stale(settings):
    settings.INDEX_STALE_SECONDS = 30
    settings.INDEX_POLL_SECONDS = 60
    assert live.stale_seconds() == 180


def test_a_view_of_another_feed_is_dropped_before_the_new_one_is_loaded(space, monkeypatch):
    store(make_images(10), make_vectors(10), space)
    index = live.index_of(ImageEmbedding, space)
    index.refresh()
    time.sleep(0.2)
    served = []
    load = live.LiveIndex._load

    def watched(self):
        served.append(view_in_another_thread(index)[0])
        return load(self)

    monkeypatch.setattr(live.LiveIndex, "_load", watched)
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE gallery_imageembedding")
    assert len(index.refresh()) == 0
    assert served == [None]


def test_a_feed_that_is_lost_while_a_snapshot_is_there_is_read_from_postgres(space):
    store(make_images(10), make_vectors(10), space)
    snapshots.build(ImageEmbedding, space)
    index = live.index_of(ImageEmbedding, space)
    assert index.refresh().snapshot_id is not None
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE gallery_imageembedding")
    store(make_images(4), make_vectors(4), space)
    view = index.refresh()
    assert (view.snapshot_id, len(view)) == (None, 4)


def test_the_old_view_serves_while_a_new_snapshot_is_opened(space, monkeypatch):
    store(make_images(10), make_vectors(10), space)
    index = live.index_of(ImageEmbedding, space)
    first = index.refresh()
    snapshots.build(ImageEmbedding, space)
    served = []
    open_snapshot = snapshots.open_snapshot

    def watched(snapshot):
        served.append(view_in_another_thread(index))
        return open_snapshot(snapshot)

    monkeypatch.setattr(snapshots, "open_snapshot", watched)
    assert index.refresh().snapshot_id is not None
    ((view, seconds),) = served
    assert view is first
    assert seconds < 10


def test_too_many_vectors_wait_for_their_snapshot(space, settings, monkeypatch):
    store(make_images(40), make_vectors(40), space)
    monkeypatch.setattr(kinds, "memory_bytes", lambda megabytes: 1000)
    index = live.index_of(ImageEmbedding, space)
    assert index.refresh() is None
    assert index.view() is None
    snapshots.build(ImageEmbedding, space)
    assert len(index.refresh()) == 40


def test_what_cannot_be_loaded_is_not_tried_again_each_second(space, settings, monkeypatch, caplog):
    store(make_images(40), make_vectors(40), space)
    broken = snapshots.build(ImageEmbedding, space)
    file = settings.INDEX_DIR / broken.folder / snapshots.INDEX_FILE
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    monkeypatch.setattr(kinds, "memory_bytes", lambda megabytes: 1000)
    index = live.index_of(ImageEmbedding, space)
    for _ in range(5):
        assert index.refresh() is None
    assert len(caplog.records) == 2  # broken, and too many to be read
    snapshots.build(ImageEmbedding, space)
    assert len(index.refresh()) == 40


def test_the_keeper_loads_what_a_search_has_asked_for(space, settings, monkeypatch):
    settings.INDEX_POLL_SECONDS = 600.0  # far longer than this test waits
    store(make_images(5), make_vectors(5), space)
    rounds = threading.Semaphore(0)

    class Enough(BaseException):
        """Ends the thread."""

    def refresh_all():
        if rounds._value == 2:
            raise Enough
        original()
        rounds.release()

    original = live.refresh_all
    monkeypatch.setattr(live, "refresh_all", refresh_all)

    def keep():
        try:
            live.keep_current()
        except Enough:
            connection.close()

    keeper = threading.Thread(target=keep)
    keeper.start()
    wait_until(lambda: rounds._value == 1)
    index = live.index_of(ImageEmbedding, space)
    assert index.view() is None  # and it does not load in line
    wait_until(lambda: index.view() is not None)
    assert len(index.view()) == 5
    live._keeper.wanted.set()
    keeper.join(60)
    assert not live._keeper.is_running


def test_small_changes_shadow_exactly_what_they_touch():
    chance = np.random.default_rng(0)
    ids = np.arange(0, 3000, 3, dtype=np.int64)
    view = live.View.over(ExactIndex(ids, make_vectors(1000)), FeedPosition("", ""))
    for seed in range(30):
        touched = np.unique(chance.integers(-5, 3010, 7))
        there = touched[chance.random(len(touched)) < 0.5]
        changes = Changes(
            FeedPosition("", str(seed)), there, make_vectors(len(there), seed=seed),
            np.setdiff1d(touched, there),
        )  # fmt: skip
        before = (view.shadowed.copy(), None if view.alive is None else view.alive.copy())
        newer = view.changed_by(changes)
        np.testing.assert_array_equal(view.shadowed, before[0])  # a view is never changed
        if view.alive is not None:
            np.testing.assert_array_equal(view.alive, before[1])
        expected = (set(view.base.ids[view.alive]) if view.alive is not None else set(ids)) - set(
            touched.tolist()
        )
        if newer.alive is not None:
            assert set(ids[newer.alive].tolist()) == {int(i) for i in expected}
            np.testing.assert_array_equal(newer.shadowed, ids[~newer.alive])
        assert set(there.tolist()) <= set(newer.delta.ids.tolist())
        view = newer
    assert view.alive is not None
