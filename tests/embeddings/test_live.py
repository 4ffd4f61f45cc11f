from __future__ import annotations

import random
import threading
import time

import pytest
from django.db import connection, transaction

from embeddings import live
from gallery.models import Image, ImageEmbedding
from tests.rows import make_images, make_space, make_vectors, store, truth

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
    while time.monotonic() < deadline:
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
