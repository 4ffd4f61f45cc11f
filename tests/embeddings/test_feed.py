from __future__ import annotations

import threading
from datetime import timedelta

import numpy as np
import pytest
from django.db import connection, transaction

from embeddings import feed
from embeddings.errors import FeedLost
from gallery.models import Image, ImageEmbedding
from tests.rows import make_images, make_space, make_vectors, store

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def space():
    return make_space()


def changed_since(position, space):
    changes = feed.changes(ImageEmbedding, space, position)
    return set(changes.ids.tolist()), set(changes.gone.tolist())


def test_it_tells_of_inserted_updated_and_deleted_vectors(space):
    ids = make_images(3)
    start = feed.position(ImageEmbedding)
    store(ids, make_vectors(3), space)
    assert changed_since(start, space) == (set(ids.tolist()), set())

    inserted = feed.position(ImageEmbedding)
    store(ids[:1], make_vectors(1, seed=1), space)
    assert changed_since(inserted, space) == ({ids[0]}, set())

    ImageEmbedding.objects.filter(image_id=ids[1]).delete()
    assert changed_since(inserted, space) == ({ids[0]}, {ids[1]})


def test_it_gives_the_vectors_that_stand_now(space):
    ids, vectors = make_images(2), make_vectors(2)
    start = feed.position(ImageEmbedding)
    store(ids, make_vectors(2, seed=5), space)
    store(ids, vectors, space)
    changes = feed.changes(ImageEmbedding, space, start)
    assert changes.ids.tolist() == ids.tolist()
    np.testing.assert_array_equal(changes.vectors, vectors)


def test_it_sees_cascades_and_raw_sql(space):
    ids = make_images(2)
    store(ids, make_vectors(2), space)
    start = feed.position(ImageEmbedding)
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM gallery_imageembedding WHERE image_id = %s", [int(ids[0])])
    Image.objects.filter(pk=ids[1]).delete()
    assert changed_since(start, space) == (set(), set(ids.tolist()))


def test_it_keeps_spaces_apart(space):
    other = make_space(state="filling")
    ids = make_images(1)
    start = feed.position(ImageEmbedding)
    store(ids, make_vectors(1), other)
    assert changed_since(start, space) == (set(), set())
    assert changed_since(start, other) == ({ids[0]}, set())


def test_a_transaction_that_commits_late_is_not_lost(space):
    ids = make_images(2)
    start = feed.position(ImageEmbedding)
    wrote, may_commit = threading.Event(), threading.Event()

    def write_slowly():
        with transaction.atomic():
            store(ids[:1], make_vectors(1), space)
            wrote.set()
            may_commit.wait(60)
        connection.close()

    slow = threading.Thread(target=write_slowly)
    slow.start()
    wrote.wait(60)
    store(ids[1:], make_vectors(1), space)  # begins later, commits first
    changes = feed.changes(ImageEmbedding, space, start)
    assert changes.ids.tolist() == [ids[1]]
    may_commit.set()
    slow.join()
    assert ids[0] in changed_since(changes.position, space)[0]


def test_nothing_of_a_rolled_back_transaction_is_told(space):
    ids = make_images(1)
    start = feed.position(ImageEmbedding)
    with transaction.atomic():
        store(ids, make_vectors(1), space)
        transaction.set_rollback(True)
    assert changed_since(start, space) == (set(), set())


def test_truncate_begins_a_new_feed(space):
    store(make_images(1), make_vectors(1), space)
    start = feed.position(ImageEmbedding)
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE gallery_imageembedding")
    with pytest.raises(FeedLost):
        feed.changes(ImageEmbedding, space, start)


def test_a_reader_from_before_the_pruning_is_told(space):
    ids = make_images(2)
    start = feed.position(ImageEmbedding)
    store(ids[:1], make_vectors(1), space)
    later = feed.position(ImageEmbedding)
    store(ids[1:], make_vectors(1), space)
    assert feed.prune(timedelta(hours=1)) == 0
    assert changed_since(start, space)[0] == set(ids.tolist())
    assert feed.prune(timedelta(0)) >= 1
    with pytest.raises(FeedLost):
        feed.changes(ImageEmbedding, space, start)
    assert changed_since(later, space)[0] == {ids[1]}


def test_installing_twice_changes_nothing(space):
    before = feed.position(ImageEmbedding)
    feed.install_all()
    assert feed.position(ImageEmbedding).identity == before.identity


def test_a_table_that_was_unwatched_for_a_while_begins_a_new_feed(space):
    before = feed.position(ImageEmbedding)
    with connection.cursor() as cursor:
        cursor.execute("DROP TRIGGER embeddings_note_insert ON gallery_imageembedding")
    feed.install_all()
    assert feed.position(ImageEmbedding).identity != before.identity


def test_triggers_that_sleep_are_told_and_begin_a_new_feed(space):
    before = feed.position(ImageEmbedding)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE gallery_imageembedding DISABLE TRIGGER USER")
        with pytest.raises(FeedLost, match="sleep"):
            feed.position(ImageEmbedding)
        cursor.execute("ALTER TABLE gallery_imageembedding ENABLE TRIGGER USER")
    feed.install_all()
    with pytest.raises(FeedLost):
        feed.changes(ImageEmbedding, space, before)


def test_it_sees_what_is_loaded_as_for_a_replica(space):
    ids = make_images(1)
    start = feed.position(ImageEmbedding)
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL session_replication_role = replica")
        store(ids, make_vectors(1), space)
    assert changed_since(start, space) == (set(ids.tolist()), set())


def test_after_a_restore_into_another_server_the_feed_begins_anew(space):
    ids = make_images(2)
    start = feed.position(ImageEmbedding)
    with connection.cursor() as cursor:
        # As pg_restore leaves it: transaction numbers of a server that had counted further.
        cursor.execute("UPDATE embeddings_feed SET server = 'other', pruned_to = '9000000000'")
        cursor.execute(
            "INSERT INTO embeddings_change (xid, table_id, space_id, subject_id) "
            "SELECT '8000000000', table_id, %s, 7 FROM embeddings_feed",
            [space.pk],
        )
    with pytest.raises(FeedLost):
        feed.changes(ImageEmbedding, space, start)
    here = feed.position(ImageEmbedding)
    assert changed_since(here, space) == (set(), set())
    store(ids, make_vectors(2), space)
    assert changed_since(here, space) == (set(ids.tolist()), set())


def test_a_position_of_the_future_is_refused(space):
    here = feed.position(ImageEmbedding)
    future = feed.FeedPosition(here.identity, "9000000000:9000000000:")
    with pytest.raises(FeedLost):
        feed.changes(ImageEmbedding, space, future)
