from __future__ import annotations

import math
import re
import time
from datetime import timedelta

import pytest
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from embeddings import counts, snapshots
from embeddings.models import Snapshot
from gallery import worker
from gallery.models import (
    Caption,
    CaptionEmbeddingJob,
    Image,
    ImageEmbedding,
    ImageEmbeddingJob,
    State,
)
from tests.gallery.test_health import redis_at
from tests.gallery.uploads import as_user
from tests.rows import make_images, make_space, make_user, make_vectors, store
from tests.test_docs import DOCS

TABLE = ImageEmbedding._meta.db_table


@pytest.fixture
def root(db):
    return as_user("root", is_superuser=True)


def scrape(client):
    """Return the samples, {(name, label values in the order of their names): value}."""
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    samples = {}
    for family in text_string_to_metric_families(answer.text):
        assert family.documentation
        for sample in family.samples:
            key = (sample.name, *(value for _, value in sorted(sample.labels.items())))
            assert key not in samples
            samples[key] = sample.value
    return samples


def test_images_are_counted_by_state(root):
    make_images(3)
    make_images(2, state=State.WAITING)
    samples = scrape(root)
    assert samples["semblance_images", "ready"] == 3
    assert samples["semblance_images", "waiting"] == 2
    assert samples["semblance_images", "failed"] == 0


def test_embeddings_and_jobs_are_counted_by_table_and_space(root):
    space = make_space()
    other = make_space(state="filling")
    ids = make_images(5)
    store(ids[:3], make_vectors(3), space)
    for id_ in ids[3:]:
        ImageEmbeddingJob.objects.create(image_id=id_, space=space)
    parked = ImageEmbeddingJob.objects.create(
        image_id=ids[0], space=space, attempts=3, failed_at=timezone.now(), last_error="no"
    )
    caption = Caption.objects.create(image_id=ids[0], text="a boat", source="x")
    CaptionEmbeddingJob.objects.get_or_create(caption=caption, space=other)
    samples = scrape(root)
    here, there = str(space.pk), str(other.pk)
    assert samples["semblance_embeddings", here, TABLE] == 3
    assert samples["semblance_embeddings", there, TABLE] == 0
    jobs = parked._meta.db_table
    assert samples["semblance_jobs", here, "waiting", jobs] == 2
    assert samples["semblance_jobs", here, "parked", jobs] == 1
    assert samples["semblance_jobs", there, "waiting", CaptionEmbeddingJob._meta.db_table] == 1


@pytest.mark.django_db(transaction=True)
def test_the_newest_snapshot_is_described_and_what_it_has_missed():
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE embeddings_change")  # other tests have left theirs
    space = make_space()
    ids = make_images(40)
    store(ids[:30], make_vectors(30), space)
    snapshots.build(ImageEmbedding, space)
    snapshot = Snapshot.objects.latest()
    store(ids[30:], make_vectors(10), space)
    samples = scrape(as_user("root", is_superuser=True))

    def of_index(name):
        return samples[f"semblance_index_{name}", str(space.pk), TABLE]

    assert of_index("vectors") == 30
    assert of_index("bytes") == snapshot.bytes > 0
    assert of_index("build_seconds") == pytest.approx(snapshot.build_seconds)
    assert of_index("recall") == snapshot.recall
    assert 0 <= of_index("age_seconds") < 60
    assert of_index("missed_changes") == 10
    assert 0 < of_index("missed_seconds") < 60
    assert samples["semblance_feed_changes",] == 40
    assert 0 < samples["semblance_feed_age_seconds",] < 60
    # Nobody has measured it since.
    assert ("semblance_index_recall_now", str(space.pk), TABLE) not in samples
    assert of_index("recall_decayed") == 0


@pytest.mark.parametrize(("recall_now", "decayed"), [(0.97, 1), (0.98, 0), (0.999, 0)])
def test_a_recall_that_has_decayed_is_told(root, settings, recall_now, decayed):
    settings.INDEX_RECALL = 0.98
    space = make_space()
    Snapshot.objects.create(
        table=TABLE, space=space, folder="x", kind="flat", vectors=1, bytes=1, recall=1,
        feed_identity="of another server", feed_snapshot="1:1:", build_seconds=1,
        recall_now=recall_now, measured_at=timezone.now() - timedelta(hours=1),
    )  # fmt: skip
    samples = scrape(root)
    assert samples["semblance_index_recall_decayed", str(space.pk), TABLE] == decayed
    assert samples["semblance_index_recall_now", str(space.pk), TABLE] == recall_now
    age = samples["semblance_index_recall_age_seconds", str(space.pk), TABLE]
    assert age == pytest.approx(3600, abs=60)
    assert samples["semblance_index_recall_wanted",] == 0.98
    # The feed is another one: nothing can be said of what this snapshot has missed.
    assert ("semblance_index_missed_changes", str(space.pk), TABLE) not in samples


def test_the_encoder_of_a_space_is_named_without_its_folder(root):
    space = make_space(name="/srv/secret/encoders/mine", revision="0123456789abcdef")
    samples = scrape(root)
    labels = ("16", "mine", "0123456789ab", str(space.pk), "active")
    assert samples["semblance_space_info", *labels] == 1


def test_a_worker_is_alive_or_not(root):
    assert scrape(root)["semblance_worker_alive",] == 0
    cache.set(worker.ALIVE, time.time(), timeout=60)
    samples = scrape(root)
    assert samples["semblance_worker_alive",] == 1
    assert samples["semblance_redis_up",] == 1


def test_without_redis_it_answers_and_does_not_know_of_the_worker(root):
    with redis_at("unix:///nowhere.sock"):
        samples = scrape(root)
    assert samples["semblance_redis_up",] == 0
    assert math.isnan(samples["semblance_worker_alive",])


@pytest.mark.django_db(transaction=True)
def test_without_the_database_it_says_so(monkeypatch):
    client = as_user("root", is_superuser=True)
    with monkeypatch.context() as patch:
        connection.close()
        patch.setitem(connection.settings_dict, "HOST", "/nowhere")
        answer = client.get("/metrics")
    assert answer.status_code == 503
    assert answer.text == "The database does not answer.\n"


def test_a_superuser_may_read_it_by_session(db):
    client = Client()
    client.force_login(make_user("root", is_superuser=True))
    assert client.get("/metrics").status_code == 200


def test_nobody_else_may(db):
    session = Client()
    session.force_login(make_user("bob"))
    for client, status, sentence in (
        (Client(), 401, "Send the API token of a superuser"),
        (Client(headers={"Authorization": "Bearer wrong"}), 401, "Send the API token"),
        (Client(headers={"Authorization": "Basic cm9vdDpyb290"}), 401, "Send the API token"),
        (as_user("ann", is_staff=True), 403, "Only a superuser"),
        (session, 403, "Only a superuser"),
    ):
        answer = client.get("/metrics")
        assert answer.status_code == status
        assert sentence in answer.text
        assert "semblance_images" not in answer.text
        assert ("WWW-Authenticate" in answer) == (status == 401)


def test_a_wrong_token_is_refused_though_a_superuser_is_logged_in(db):
    client = Client(headers={"Authorization": "Bearer wrong"})
    client.force_login(make_user("root", is_superuser=True))
    assert client.get("/metrics").status_code == 401


def test_it_is_only_read_and_never_kept(root):
    assert root.post("/metrics").status_code == 405
    assert "no-store" in root.get("/metrics")["Cache-Control"]


def test_no_word_of_an_image_or_a_person_is_in_it(root):
    space = make_space()
    (id_,) = make_images(1, owner=make_user("wilhelmina"), original_name="secret-boat.jpg")
    Image.objects.filter(pk=id_).update(caption="a secret boat")
    ImageEmbeddingJob.objects.create(image_id=id_, space=space, last_error="secret failure")
    text = root.get("/metrics").text
    assert "secret" not in text
    assert "wilhelmina" not in text


@pytest.mark.django_db(transaction=True)
def test_large_tables_are_estimated(monkeypatch):
    monkeypatch.setattr(counts, "EXACT_TO", 500)
    make_images(2000)
    make_images(100, state=State.WAITING)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE gallery_image")
    samples = scrape(as_user("root", is_superuser=True))
    assert samples["semblance_images", "waiting"] == 100
    assert samples["semblance_images", "ready"] == pytest.approx(2000, rel=0.05)


def test_every_metric_is_documented(root):
    space = make_space()
    Snapshot.objects.create(
        table=TABLE, space=space, folder="x", kind="flat", vectors=1, bytes=1, recall=1,
        feed_identity="", feed_snapshot="1:1:", build_seconds=1,
    )  # fmt: skip
    names = set(re.findall(r"^# TYPE (\w+) gauge$", root.get("/metrics").text, re.MULTILINE))
    listed = set(re.findall(r"^\| `(\w+)", DOCS["metrics.md"], re.MULTILINE))
    assert len(names) > 15
    assert names == listed
