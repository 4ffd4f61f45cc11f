from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.utils import timezone

from embeddings import live, snapshots, tasks
from embeddings.errors import SnapshotBroken, VectorInvalid
from embeddings.indexes import kinds
from embeddings.models import Snapshot, Space
from embeddings.vectors import normalise
from gallery.models import ImageEmbedding
from tests.rows import make_images, make_space, make_user, make_vectors, store, truth

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
    index = snapshots.open_snapshot(snapshot).index
    assert len(index) == 100
    assert len(index.search(QUERY, 100).ids) == 100


def test_an_empty_space_has_a_snapshot_too(settings):
    snapshot = snapshots.build(ImageEmbedding, make_space())
    assert len(snapshots.open_snapshot(snapshot).index) == 0


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


def test_the_folder_of_a_deleted_space_is_removed(space, settings):
    snapshot = snapshots.build(ImageEmbedding, space)
    other = make_space(state=Space.State.FILLING)
    store(make_images(5), make_vectors(5), other)
    gone = snapshots.build(ImageEmbedding, other)
    assert snapshots.remove_orphans() == 0
    other.delete()
    tasks.build_due_snapshots()
    assert not (settings.INDEX_DIR / gone.folder).exists()
    assert (settings.INDEX_DIR / snapshot.folder).exists()


@pytest.mark.parametrize(
    "harm", ["cut", "changed", "no index", "no meta", "bad meta", "other meta", "no folder"]
)
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
    elif harm == "other meta":
        meta = json.loads((folder / snapshots.META_FILE).read_text())
        (folder / snapshots.META_FILE).write_text(json.dumps(meta | {"effort": 1.0}))
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
            done.wait(60)
        connection.close()

    other = threading.Thread(target=hold)
    other.start()
    held.wait(60)
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
    whole = index.read_bytes()
    assert not snapshots.is_due(ImageEmbedding, space)
    for harmed in (whole[:-10], whole[:-1] + bytes([whole[-1] ^ 1])):
        index.write_bytes(harmed)
        assert snapshots.is_due(ImageEmbedding, space)
    index.write_bytes(whole)
    assert not snapshots.is_due(ImageEmbedding, space)


def test_a_number_that_hovers_about_a_limit_builds_once(space, settings, monkeypatch):
    monkeypatch.setattr(kinds, "FLAT_TO", 100)
    settings.INDEX_DELTA_LIMIT = 5
    snapshots.build(ImageEmbedding, space)
    ids = ImageEmbedding.objects.values_list("image_id", flat=True)[:5]
    store(ids, make_vectors(5, seed=1), space)  # changed, not added
    assert snapshots.due_kind(ImageEmbedding, space) == "flat"


def test_a_space_that_cannot_be_built_does_not_keep_the_others_waiting(space):
    other = make_space(state=Space.State.FILLING)
    store(make_images(5), make_vectors(5), other)
    ImageEmbedding.objects.filter(space=space).update(vector=[1.0, 0.0])
    with pytest.raises(VectorInvalid, match="has not 16 dimensions"):
        tasks.build_due_snapshots()
    assert [snapshot.space for snapshot in Snapshot.objects.all()] == [other]


def dense(n, *, dimensions=24, spread=0.6, seed=0):
    """Return n vectors in clusters: what an approximate index can be right about."""
    chance = np.random.default_rng(seed)
    centres = chance.normal(size=(max(1, n // 40), dimensions))
    vectors = centres[chance.integers(0, len(centres), n)] + spread * chance.normal(
        size=(n, dimensions)
    )
    return normalise(vectors).astype(np.float16).astype(np.float32)


@pytest.fixture
def large(settings):
    """A space of 1,600 vectors, in which every kind but the IVF ones can learn."""
    settings.INDEX_POLL_SECONDS = 1e-6
    live.forget_all()
    space = make_space(dimensions=24)
    store(make_images(1600), dense(1600), space)
    return space


@pytest.mark.parametrize("kind", ["flat", "hnsw", "hnsw8", "pq", "pq8", "gpu"])
def test_every_kind_is_built_published_and_taken_up(large, settings, kind):
    settings.INDEX_RECALL = 0.9
    snapshot = snapshots.build(ImageEmbedding, large, kind=kind)
    assert (snapshot.kind, snapshot.vectors) == (kind, 1600)
    assert snapshot.recall >= 0.9
    view = live.index_of(ImageEmbedding, large).refresh()
    assert view.snapshot_id == snapshot.pk
    if view.base.is_exact:
        assert (view.recall, snapshot.effort, snapshot.curve) == (None, None, [])
    else:
        assert view.recall == snapshot.recall
        assert view.base.effort == snapshot.effort
        efforts = [effort for effort, _, _ in snapshot.curve]
        assert snapshot.effort in efforts
    assert len(view.search(dense(1, seed=3)[0], 20).ids) == 20


@pytest.mark.parametrize("kind", ["flat", "hnsw", "hnsw8", "pq", "pq8", "gpu"])
def test_a_harmed_file_of_any_kind_is_refused_and_built_anew(large, settings, kind):
    settings.INDEX_RECALL = 0.9
    settings.INDEX_KIND = kind
    snapshot = snapshots.build(ImageEmbedding, large)
    file = settings.INDEX_DIR / snapshot.folder / snapshots.INDEX_FILE
    whole = file.read_bytes()
    half = len(whole) // 2
    for harmed in (
        b"",
        whole[:half],
        whole[:8] + b"\xff" * 8 + whole[16:],  # among them numbers that say how much to read
        whole[:half] + bytes(byte ^ 1 for byte in whole[half : half + 8]) + whole[half + 8 :],
    ):
        file.write_bytes(harmed)
        with pytest.raises(SnapshotBroken):
            snapshots.open_snapshot(snapshot)
    assert len(live.index_of(ImageEmbedding, large).refresh()) == 1600
    rebuilt = snapshots.build(ImageEmbedding, large)
    view = live.index_of(ImageEmbedding, large).refresh()
    assert (view.snapshot_id, view.base.kind) == (rebuilt.pk, "flat" if kind == "gpu" else kind)


def test_below_the_recall_asked_for_a_safer_kind_is_built(settings, caplog):
    settings.INDEX_POLL_SECONDS = 1e-6
    live.forget_all()
    large = make_space(dimensions=24)
    alike = dense(1600, spread=0.001)  # too much so for 8 bits to tell apart
    store(make_images(1600), alike, large)
    settings.INDEX_RECALL = 0.98
    settings.INDEX_KIND = "hnsw8"
    snapshot = snapshots.build(ImageEmbedding, large)
    assert snapshot.wanted == "hnsw8"
    assert snapshot.kind in ("pq", "flat")
    assert snapshot.recall >= 0.98
    assert "hnsw8 finds" in caplog.text
    assert not snapshots.is_due(ImageEmbedding, large)  # it would only fail again


def test_what_is_built_in_seconds_comes_first_and_its_better_follows(large, settings, monkeypatch):
    monkeypatch.setattr(kinds, "FLAT_TO", 1000)
    settings.INDEX_RECALL = 0.9
    assert snapshots.due_kind(ImageEmbedding, large) == "pq8"
    assert tasks.build_due_snapshots() == 2
    assert [s.kind for s in Snapshot.objects.order_by("pk")] == ["pq8", "hnsw"]
    assert not snapshots.is_due(ImageEmbedding, large)
    settings.INDEX_DELTA_LIMIT = 10
    store(make_images(40), dense(40, seed=4), large)
    assert snapshots.due_kind(ImageEmbedding, large) == "hnsw"
    store(make_images(400), dense(400, seed=5), large)  # a mass import
    assert snapshots.due_kind(ImageEmbedding, large) == "pq8"


def test_another_kind_in_the_settings_makes_one_due(space, settings):
    snapshots.build(ImageEmbedding, space)
    settings.INDEX_KIND = "hnsw"
    assert snapshots.due_kind(ImageEmbedding, space) == "hnsw"
    snapshots.build(ImageEmbedding, space)
    assert not snapshots.is_due(ImageEmbedding, space)


def test_a_kind_built_by_hand_stays(space):
    snapshots.build(ImageEmbedding, space, kind="hnsw")
    assert not snapshots.is_due(ImageEmbedding, space)


def test_a_large_snapshot_bears_a_larger_delta(settings):
    settings.INDEX_DELTA_LIMIT = 5000
    assert snapshots.delta_limit(1000) == 5000
    assert snapshots.delta_limit(1_000_000) == 10_000


def test_a_small_delta_is_folded_in_when_it_is_old(space, settings):
    settings.INDEX_DELTA_SECONDS = 3600
    snapshots.build(ImageEmbedding, space)
    two_hours_ago = timezone.now() - timedelta(hours=2)
    Snapshot.objects.update(built_at=two_hours_ago)
    assert not snapshots.is_due(ImageEmbedding, space)  # nothing to fold in
    store(make_images(1), make_vectors(1), space)
    assert snapshots.is_due(ImageEmbedding, space)


def test_the_background_is_a_fixed_sample_of_the_space(large, monkeypatch):
    monkeypatch.setattr(snapshots, "BACKGROUND", 500)
    index = live.index_of(ImageEmbedding, large)
    read = index.refresh().background
    assert read.shape == (500, 24)
    assert read.dtype == np.float32
    snapshot = snapshots.build(ImageEmbedding, large)
    first = live.View.of_snapshot(snapshot).background
    again = snapshots.open_snapshot(snapshot).background
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first, index.refresh().background)
    held = {tuple(vector) for vector in truth(large).values()}
    assert {tuple(vector) for vector in first.astype(float).tolist()} <= held
    assert len(np.unique(first, axis=0)) == 500


def test_a_harmed_background_is_refused(space, settings):
    snapshot = snapshots.build(ImageEmbedding, space)
    file = settings.INDEX_DIR / snapshot.folder / snapshots.BACKGROUND_FILE
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(SnapshotBroken, match=r"background.npy has changed"):
        snapshots.open_snapshot(snapshot)


# A process that builds, and is killed by kill -9 as soon as it comes to a line.
KILLED = """
import os, pathlib, signal, django
django.setup()
from embeddings import snapshots
from embeddings.models import Snapshot, Space
from gallery.models import ImageEmbedding

def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

{harm} = die
snapshots.build(ImageEmbedding, Space.objects.get())
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("harm", "left"),
    [
        ("snapshots.stream_vectors", 0),  # before data
        ("snapshots.np.save", 1),  # between the index and its ids
        ("pathlib.Path.rename", 1),  # before the rename
        ("Snapshot.objects.create", 1),  # before the pointer
        ("snapshots.remove_old", 1),  # after it
    ],
)
def test_a_killed_builder_leaves_the_old_snapshot_serving(space, settings, harm, left):
    old = snapshots.build(ImageEmbedding, space)
    index = live.index_of(ImageEmbedding, space)
    store(make_images(5), make_vectors(5, seed=8), space)
    database = f"{os.environ['DATABASE_URL'].rsplit('/', 1)[0]}/{connection.settings_dict['NAME']}"
    done = subprocess.run(
        [sys.executable, "-c", KILLED.format(harm=harm)],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False,
        env=os.environ | {
            "DATABASE_URL": database,
            "DATA_DIR": str(settings.INDEX_DIR.parent),
            "DJANGO_SETTINGS_MODULE": "searchsite.settings",
        },
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(folders(settings)) == 1 + left
    is_published = harm == "snapshots.remove_old"
    assert Snapshot.objects.count() == 1 + is_published
    view = index.refresh()
    assert (view.snapshot_id == old.pk) is not is_published
    assert len(view) == 105
    new = wait_for_build(space)
    assert new.vectors == 105
    view = index.refresh()
    assert (view.snapshot_id, len(view), len(view.delta)) == (new.pk, 105, 0)
    assert len(folders(settings)) == Snapshot.objects.count() == 2


def wait_for_build(space):
    """Build as soon as Postgres has noticed that the other builder is gone."""
    deadline = time.monotonic() + 60
    while (snapshot := snapshots.build(ImageEmbedding, space)) is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return snapshot


def test_build_index_prints_a_table(space, settings):
    printed = StringIO()
    call_command(
        "build_index", "--kind", "hnsw", "--table", "gallery_imageembedding", stdout=printed
    )
    lines = printed.getvalue().splitlines()
    assert "recall@10" in lines[0]
    assert "gallery_imageembedding" in lines[1]
    assert "hnsw" in lines[1]
    assert Snapshot.objects.get().kind == "hnsw"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--table", "no_such"], "no_such is no vector table"),
        (["--kind", "best"], "invalid choice"),
    ],
)
def test_build_index_refuses_what_there_is_not(space, arguments, sentence):
    with pytest.raises(CommandError, match=sentence):
        call_command("build_index", *arguments)
    assert not Snapshot.objects.exists()


def test_the_admin_shows_the_curve_and_warns_of_decay(space, client):
    snapshots.build(ImageEmbedding, space, kind="hnsw")
    client.force_login(make_user("root", is_staff=True, is_superuser=True))
    page = client.get("/admin/embeddings/snapshot/")
    assert page.status_code == 200
    assert "asks for" not in page.content.decode()
    Snapshot.objects.update(
        recall_now=0.91, measured_at=timezone.now(), curve=[[16, 0.91, 0.05], [32, 0.99, 0.0812]]
    )
    page = client.get("/admin/embeddings/snapshot/")
    assert "found 91.0% of the true neighbours" in page.content.decode()
    page = client.get(f"/admin/embeddings/snapshot/{Snapshot.objects.get().pk}/change/")
    assert "32: 99.0%, 0.08 ms" in page.content.decode()
