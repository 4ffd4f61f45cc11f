from __future__ import annotations

import numpy as np
import pytest
from django.db import connection, transaction
from django.utils import timezone

from embeddings import live, recall, samples, snapshots, tasks
from embeddings.indexes.contract import ExactIndex
from embeddings.indexes.spool import Spool
from embeddings.models import QuerySample, Snapshot, Space
from embeddings.recall import RecallProbe, kth_scores, probe_queries
from gallery.models import ImageEmbedding
from tests.rows import make_images, make_space, make_vectors, store

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def durable():
    """Commits wait for the disk, as they do everywhere but in tests."""
    with connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit = on")
        yield
        cursor.execute("RESET synchronous_commit")


@pytest.fixture
def space(settings, monkeypatch):
    settings.INDEX_POLL_SECONDS = 1e-6
    live.forget_all()
    monkeypatch.setattr(samples, "EVERY_SECONDS", 0.0)
    space = make_space()
    store(make_images(50), make_vectors(50), space)
    return space


@pytest.fixture
def spool(tmp_path):
    return Spool.fill([(np.arange(0, 300, 3, dtype=np.int64), make_vectors(100))], 16, tmp_path)


def remembered(space) -> list[list[float]]:
    rows = QuerySample.objects.filter(space=space).order_by("-asked_at", "-pk")
    return [np.float16(row.vector).astype(float).tolist() for row in rows]


def test_the_score_to_reach_is_that_of_the_kth_neighbour(spool):
    queries = make_vectors(5, seed=1)
    scores = np.sort(queries @ spool.halves.astype(np.float32).T, axis=1)
    np.testing.assert_allclose(kth_scores(queries, spool, 10), scores[:, -10], atol=1e-6)


def test_recall_is_the_share_of_true_neighbours_that_is_found(spool):
    exact = ExactIndex(spool.ids, spool.halves.astype(np.float32))
    probe = RecallProbe(make_vectors(20, seed=1), spool)
    assert probe.recall_of(exact.search) == 1.0
    half = ExactIndex(exact.ids[::2], exact.vectors[::2])
    assert 0.3 < probe.recall_of(half.search) < 0.7
    unknown = ExactIndex(exact.ids + 1, exact.vectors)  # ids that are not there find nothing
    assert probe.recall_of(unknown.search) == 0.0


def test_probes_are_what_was_asked_lately_and_some_that_were_made(space, spool):
    made = probe_queries(space, spool)
    assert made.shape == (100, 16)
    np.testing.assert_allclose(np.linalg.norm(made, axis=1), 1, atol=1e-3)
    asked = make_vectors(recall.QUERIES + 20, seed=6)
    for vector in asked:
        samples.remember(space, vector)
    queries = probe_queries(space, spool)
    assert queries.shape == (recall.QUERIES, 16)
    np.testing.assert_allclose(queries[: recall.ASKED], asked[: -recall.ASKED - 1 : -1], atol=1e-3)


def test_made_probes_lie_off_the_data_as_texts_do(space, spool):
    vectors = spool.halves.astype(np.float32)
    nearest = (probe_queries(space, spool) @ vectors.T).max(axis=1)
    assert 0.6 < np.median(nearest) < 0.85


def test_a_query_vector_is_remembered_once_a_second(space, monkeypatch):
    monkeypatch.setattr(samples, "EVERY_SECONDS", 60.0)
    monkeypatch.setattr(samples, "_last_at", -60.0)
    first, second = make_vectors(2)
    samples.remember(space, first)
    samples.remember(space, second)
    assert remembered(space) == [first.astype(float).tolist()]


def test_only_the_newest_are_remembered(space, monkeypatch):
    monkeypatch.setattr(samples, "KEPT", 10)
    monkeypatch.setattr(samples, "_PRUNED_EVERY", 5)
    vectors = make_vectors(30)
    other = make_space(state=Space.State.FILLING)
    samples.remember(other, vectors[0])
    for vector in vectors:
        samples.remember(space, vector)
    held = remembered(space)
    assert 10 <= len(held) < 16
    assert held == [vector.astype(float).tolist() for vector in vectors[: -len(held) - 1 : -1]]
    assert len(remembered(other)) == 1


def test_remembering_never_fails_a_search(space):
    samples.remember(space, np.full(3, np.nan, np.float32))  # Postgres takes no NaN
    gone = make_space(state=Space.State.FILLING)
    gone.delete()
    gone.pk = 10**6
    samples.remember(gone, make_vectors(1)[0])
    assert not QuerySample.objects.exists()


@pytest.mark.usefixtures("durable")
def test_a_sample_is_on_disk_when_it_is_kept(space, monkeypatch):
    """Else its number may be another transaction's after a crash, and no reader would see that."""
    monkeypatch.setattr(samples, "EVERY_SECONDS", 0.0)
    is_on_disk = []
    for vector in make_vectors(9):
        samples.remember(space, vector)
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_current_wal_flush_lsn() >= pg_current_wal_insert_lsn()")
            is_on_disk.append(cursor.fetchone()[0])
    assert sum(is_on_disk) > 4  # others may have written something in between


def test_nothing_is_remembered_in_a_transaction(space):
    with transaction.atomic():
        samples.remember(space, make_vectors(1)[0])
    assert not QuerySample.objects.exists()


def test_the_daily_measurement_is_stored_and_warns_when_it_has_decayed(space, caplog):
    snapshot = snapshots.build(ImageEmbedding, space)
    assert recall.warning(snapshot) == ""
    assert tasks.measure_recall() == 1
    snapshot.refresh_from_db()
    assert snapshot.recall_now == 1.0
    assert (timezone.now() - snapshot.measured_at).total_seconds() < 60
    assert recall.warning(snapshot) == ""
    snapshot.recall_now = 0.9
    assert "found 90.0% of the true neighbours" in recall.warning(snapshot)


def test_a_live_index_that_misses_neighbours_is_noticed(space, settings, monkeypatch, caplog):
    snapshots.build(ImageEmbedding, space)
    ids = ImageEmbedding.objects.values_list("image_id", flat=True)
    with connection.cursor() as cursor:  # half of the vectors turn round, and the feed is silent
        cursor.execute(
            "UPDATE gallery_imageembedding SET vector = (SELECT vector FROM gallery_imageembedding"
            " WHERE image_id = %s) WHERE image_id %% 2 = 0",
            [min(ids)],
        )
        cursor.execute("DELETE FROM embeddings_change")
    assert tasks.measure_recall() == 1
    snapshot = Snapshot.objects.get()
    assert snapshot.recall_now < 0.9
    assert recall.warning(snapshot) in caplog.text


def test_without_a_snapshot_there_is_nothing_to_measure(space):
    assert tasks.measure_recall() == 0
