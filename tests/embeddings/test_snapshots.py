from __future__ import annotations

import json
import threading

import numpy as np
import pytest
from django.db import connection, transaction

from embeddings import live, snapshots
from embeddings.errors import SnapshotBroken
from embeddings.models import Snapshot
from gallery.models import ImageEmbedding
from tests.rows import make_images, make_space, make_vectors, store

pytestmark = pytest.mark.django_db(transaction=True)

QUERY = make_vectors(1, seed=99)[0]


@pytest.fixture
def space(settings):
    settings.INDEX_POLL_SECONDS = 1e-6
    live.forget_all()
    space = make_space()
    store(make_images(100), make_vectors(100), space)
    return space


def folders(settings):
    return sorted(p.name for p in (settings.INDEX_DIR / "gallery_imageembedding").glob("*/*"))


def test_a_snapshot_holds_every_vector(space):
    snapshot = snapshots.build(ImageEmbedding, space)
    assert (snapshot.vectors, snapshot.recall) == (100, 1.0)
    index = snapshots.open_snapshot(snapshot)
    assert len(index) == 100
    assert len(index.search(QUERY, 100).ids) == 100


def test_an_empty_space_has_a_snapshot_too(settings):
    snapshot = snapshots.build(ImageEmbedding, make_space())
    assert len(snapshots.open_snapshot(snapshot)) == 0


def test_it_is_due_when_missing_and_when_far_behind(space, settings):
    settings.INDEX_DELTA_LIMIT = 10
    assert snapshots.is_due(ImageEmbedding, space)
    snapshots.build(ImageEmbedding, space)
    assert not snapshots.is_due(ImageEmbedding, space)
    store(make_images(9), make_vectors(9), space)
    assert not snapshots.is_due(ImageEmbedding, space)
    store(make_images(1), make_vectors(1), space)
    assert snapshots.is_due(ImageEmbedding, space)


def test_a_new_snapshot_is_taken_up_by_a_running_index(space):
    index = live.index_of(ImageEmbedding, space)
    assert index.refresh().known_snapshot_id == 0
    snapshot = snapshots.build(ImageEmbedding, space)
    view = index.refresh()
    assert view.known_snapshot_id == snapshot.pk
    assert (len(view), len(view.delta)) == (100, 0)


def test_only_the_newest_are_kept(space, settings):
    for _ in range(4):
        snapshots.build(ImageEmbedding, space)
    assert len(folders(settings)) == Snapshot.objects.count() == snapshots.KEPT


def test_what_a_killed_builder_left_is_removed(space, settings):
    (settings.INDEX_DIR / "gallery_imageembedding" / str(space.pk) / "draft-x").mkdir(parents=True)
    snapshots.build(ImageEmbedding, space)
    assert "draft-x" not in folders(settings)


@pytest.mark.parametrize("harm", ["cut", "changed", "no index", "no meta", "bad meta", "no folder"])
def test_a_broken_snapshot_is_refused_and_postgres_serves(space, settings, harm):
    snapshot = snapshots.build(ImageEmbedding, space)
    folder = settings.INDEX_DIR / snapshot.folder
    index = folder / snapshots.INDEX_FILE
    if harm == "cut":
        index.write_bytes(index.read_bytes()[:-100])
    elif harm == "changed":
        index.write_bytes(index.read_bytes()[:-1] + b"x")
    elif harm == "no index":
        index.unlink()
    elif harm == "no meta":
        (folder / snapshots.META_FILE).unlink()
    elif harm == "bad meta":
        (folder / snapshots.META_FILE).write_text(json.dumps({"kind": 3}))
    else:
        folder.rename(folder.with_name("elsewhere"))
    with pytest.raises(SnapshotBroken):
        snapshots.open_snapshot(snapshot)
    view = live.index_of(ImageEmbedding, space).refresh()
    assert len(view) == 100


def test_a_snapshot_of_another_feed_is_read_anew(space):
    snapshot = snapshots.build(ImageEmbedding, space)
    Snapshot.objects.update(feed_identity="another database")
    live.forget_all()
    store(make_images(5), make_vectors(5), space)
    view = live.index_of(ImageEmbedding, space).refresh()
    assert len(view) == 105
    assert view.known_snapshot_id == snapshot.pk  # known, and not tried again


def test_two_builders_do_not_meet(space):
    held, done = threading.Event(), threading.Event()

    def hold():
        with transaction.atomic():
            assert snapshots._alone(f"gallery_imageembedding:{space.pk}")
            held.set()
            done.wait(10)
        connection.close()

    other = threading.Thread(target=hold)
    other.start()
    held.wait(10)
    assert snapshots.build(ImageEmbedding, space) is None
    done.set()
    other.join()
    assert snapshots.build(ImageEmbedding, space) is not None


def test_scores_are_those_of_the_stored_vectors(space):
    snapshots.build(ImageEmbedding, space)
    found = live.index_of(ImageEmbedding, space).refresh().search(QUERY, 5)
    stored = dict(ImageEmbedding.objects.values_list("image_id", "vector"))
    expected = [np.dot(stored[i], QUERY) for i in found.ids.tolist()]
    np.testing.assert_allclose(found.scores, expected, atol=1e-6)


def test_a_build_that_fails_leaves_nothing_behind(space, settings, monkeypatch):
    monkeypatch.setattr(snapshots, "_sync", no_space_left)
    with pytest.raises(OSError, match="No space left"):
        snapshots.build(ImageEmbedding, space)
    assert folders(settings) == []
    assert not Snapshot.objects.exists()


def no_space_left(path):
    raise OSError(28, "No space left on device")


def test_a_harmed_snapshot_is_due_again(space, settings):
    snapshot = snapshots.build(ImageEmbedding, space)
    index = settings.INDEX_DIR / snapshot.folder / snapshots.INDEX_FILE
    index.write_bytes(index.read_bytes()[:-10])
    assert snapshots.is_due(ImageEmbedding, space)
