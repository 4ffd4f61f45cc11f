"""Buckets that are away for a time: what waits for them goes on by itself, and nothing fails."""

from __future__ import annotations

import errno
import threading
import time
from dataclasses import replace
from itertools import count
from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError
from django.core.files.storage import default_storage
from django.core.management import call_command
from django.db import connections

from embeddings import jobs
from gallery import spaces, tasks
from gallery.importers.s3 import Bucket
from gallery.imports import engine, ledger, outages
from gallery.models import Image, ImageEmbedding, ImageEmbeddingJob, ImportRun, State
from gallery.pipeline import embed_waiting
from gallery.storage import clients
from gallery.storage.addresses import parse_bucket
from gallery.storage.bucket import BucketStorage
from gallery.subjects import TRIES_OF_FILE
from tests.gallery.storage import servers
from tests.gallery.uploads import picture, stored
from tests.rows import make_user
from tests.workers import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

FAULTS = ["busy", "silent", "cut_answer"]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(outages, "LONGEST_PAUSE_SECONDS", 1.0)


def large(seed: int) -> bytes:
    """Return a picture whose bytes do not come in one piece; what follows it is not looked at."""
    return picture(seed) + bytes(300_000)


@pytest.fixture
def source(rclone, proxy) -> Bucket:
    """Twelve pictures in a bucket behind the proxy."""
    name = f"b{uuid4().hex}"
    at = parse_bucket(servers.address(rclone, name))
    client = clients.connect(at)
    client.create_bucket(Bucket=name)
    for seed in range(12):
        client.put_object(Bucket=name, Key=f"library/{seed}.png", Body=large(seed))
    return Bucket(url=servers.address(proxy.endpoint, name, timeout=1))


def states(run: ImportRun) -> dict[str, int]:
    return {state: n for state, n in ledger.counts(run).items() if n}


class Working:
    """An import at work on a thread of its own, as in a worker."""

    def __init__(self, source: Bucket) -> None:
        self.run = ledger.start(source, make_user())
        self.told: list[str] = []
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def _work(self) -> None:
        try:
            engine.work(self.run, tell=lambda news: self.told.append(news.waits))
        finally:
            connections.close_all()

    def wait_for_outage(self) -> None:
        wait_until(lambda: ImportRun.objects.get().failure.startswith("Waiting: "))

    def end(self) -> ImportRun:
        self._thread.join(timeout=120)
        assert not self._thread.is_alive()
        return self.run


@pytest.mark.parametrize("fault", FAULTS)
def test_an_import_waits_for_its_source_and_goes_on(source, proxy, fault):
    list(source.items())  # the client is made
    proxy.cut_after = 100_000
    proxy.fail(fault)
    working = Working(source)
    working.wait_for_outage()
    assert set(states(working.run)) <= {"waiting"}
    proxy.fail("")
    run = working.end()
    assert (run.state, run.failure, states(run)) == ("done", "", {"new": 12})
    assert not run.items.filter(attempts__gt=3).exists()
    assert any(said.startswith("Waiting: s3://") for said in working.told)


@pytest.mark.parametrize("fault", ["busy", "cut_request"])
def test_an_import_waits_for_the_storage_and_goes_on(source, shaky, proxy, use, fault, monkeypatch):
    use(shaky)
    listed = Bucket(url=source.url.replace("timeout=1", "timeout=3"))
    proxy.cut_after = 2_000
    save, saves = BucketStorage._save, count(1)

    def save_or_fail(storage: BucketStorage, name: str, content: Any) -> str:
        if next(saves) == 7:  # of three for each image
            proxy.fail(fault)
        return str(save(storage, name, content))

    monkeypatch.setattr(BucketStorage, "_save", save_or_fail)
    working = Working(listed)
    working.wait_for_outage()
    proxy.fail("")
    run = working.end()
    assert (run.state, states(run)) == ("done", {"new": 12})
    assert all(default_storage.exists(image.file.name) for image in Image.objects.all())


def test_an_import_that_waits_is_paused_at_once(source, proxy):
    proxy.fail("busy")
    working = Working(source)
    working.wait_for_outage()
    began = time.monotonic()
    ledger.pause(working.run)
    run = working.end()
    assert (run.state, run.failure) == ("paused", "")
    assert time.monotonic() - began < 30


def test_an_import_does_not_wait_for_ever(source, proxy, monkeypatch):
    monkeypatch.setattr(outages, "SECONDS", 2.0)
    proxy.fail("busy")
    run = Working(source).end()
    assert run.state == "broken"
    assert "The bucket did not list its files: it answered 503 SlowDown." in run.failure
    proxy.fail("")
    ledger.resume(run)
    engine.work(run)
    assert (run.state, states(run)) == ("done", {"new": 12})


def test_what_the_bucket_refuses_is_a_failed_item_and_wrong_keys_stop_the_run(
    moto, rclone, monkeypatch
):
    name = f"b{uuid4().hex}"
    at = parse_bucket(servers.address(moto, name))
    client = clients.connect(at)
    client.create_bucket(Bucket=name)
    for seed in range(3):
        client.put_object(Bucket=name, Key=f"library/{seed}.png", Body=picture(seed))
    source = Bucket(url=servers.address(moto, name))
    items = list(source.items())
    client.delete_object(Bucket=name, Key="library/1.png")
    # As it was a moment ago, when it was listed.
    client.put_object(Bucket=name, Key="library/2.png", Body=picture(2), StorageClass="GLACIER")
    monkeypatch.setattr(Bucket, "items", lambda self: iter(items))
    run = ledger.start(source, make_user())
    engine.work(run)
    reason_by_key = dict(run.items.filter(state="failed").values_list("key", "reason"))
    assert states(run) == {"new": 1, "failed": 2}
    assert reason_by_key["1.png"] == "The bucket no longer has the file."
    assert reason_by_key["2.png"].startswith("The bucket did not give a file: it answered 403")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    run = ledger.start(Bucket(url=servers.address(rclone, name)), make_user())
    engine.work(run)
    assert (run.state, states(run)) == ("broken", {"waiting": 3})
    assert "the secret key is wrong. Look at the keys" in run.failure


@pytest.mark.parametrize("fault", FAULTS)
def test_images_wait_for_their_storage_and_are_never_parked(shaky, proxy, use, settings, fault):
    spaces.ensure()
    use(shaky)
    settings.JOB_MAX_ATTEMPTS = 1
    for seed in range(2):
        stored(seed)
    use(BucketStorage(address=replace(shaky.address, timeout=1.0)))  # silence takes as long
    proxy.cut_after = 300
    proxy.fail(fault)
    for _ in range(settings.JOB_MAX_ATTEMPTS + 1):
        assert embed_waiting() == 0
        ImageEmbeddingJob.objects.update(not_before=None)
    assert not ImageEmbeddingJob.objects.filter(failed_at__isnull=False).exists()
    assert not ImageEmbeddingJob.objects.filter(attempts__gt=0).exists()
    assert set(Image.objects.values_list("state", flat=True)) == {State.WAITING}
    use(shaky)
    proxy.fail("")
    assert embed_waiting() == 2
    assert ImageEmbedding.objects.count() == 2


def test_a_worker_asks_no_image_after_image_while_the_storage_is_away(
    shaky, proxy, use, settings, monkeypatch
):
    spaces.ensure()
    use(shaky)
    settings.ENCODER_BATCH = 2
    for seed in range(20):
        stored(seed)
    proxy.fail("busy")
    woken = []
    monkeypatch.setattr(tasks, "wake", lambda: woken.append(1))
    assert tasks.embed_waiting() == 0
    tried = ImageEmbeddingJob.objects.exclude(last_error="").count()
    assert 0 < tried <= 3 * 2
    assert not woken  # beat's next kick comes in half a minute
    proxy.fail("")
    assert tasks.embed_waiting() == 20 - tried


def test_a_file_that_nobody_can_read_is_parked_in_the_end_and_comes_back(monkeypatch):
    spaces.ensure()
    image, other = stored(1), stored(2)
    storage = Image._meta.get_field("file").storage
    real = storage.open

    def refuse(name: str, mode: str = "rb") -> Any:
        if name == image.file.name:
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(name, mode)

    with monkeypatch.context() as broken:
        broken.setattr(storage, "open", refuse)
        for tries in range(1, TRIES_OF_FILE + 1):
            embed_waiting()
            job = ImageEmbeddingJob.objects.get(image=image)
            assert job.attempts == tries
            assert (job.failed_at is None) == (tries < TRIES_OF_FILE)
            ImageEmbeddingJob.objects.update(not_before=None)
    image.refresh_from_db()
    assert image.state == State.FAILED
    assert image.failure == (
        "The stored file cannot be read: Permission denied. Mend the storage or its rights, then "
        "run manage.py retry_embedding."
    )
    assert ImageEmbedding.objects.get().image == other
    call_command("retry_embedding")
    image.refresh_from_db()
    assert (image.state, image.failure) == (State.WAITING, "")
    assert embed_waiting() == 1
    image.refresh_from_db()
    assert image.state == State.READY


def test_the_pauses_before_a_file_is_given_up_grow(monkeypatch):
    spaces.ensure()
    stored(1)
    storage = Image._meta.get_field("file").storage

    def fails(name: str, mode: str = "rb") -> Any:
        raise OSError(errno.EIO, "Input/output error")

    pauses = []
    with monkeypatch.context() as broken:
        broken.setattr(storage, "open", fails)
        for _ in range(4):
            embed_waiting()
            job = ImageEmbeddingJob.objects.get()
            pauses.append((job.not_before - job.created_at).total_seconds())
            ImageEmbeddingJob.objects.update(not_before=None)
    assert pauses == sorted(pauses)
    assert pauses[-1] >= 8 * jobs.BACK_OFF_SECONDS


@pytest.mark.parametrize("code", ["301", "PermanentRedirect", "AuthorizationHeaderMalformed"])
def test_a_bucket_of_another_region_is_not_waited_for(code):
    answer = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": 301}}
    with (
        pytest.raises(clients.BucketUnavailable, match="name that in its address") as raised,
        clients.told_as_os_errors("answer"),
    ):
        raise ClientError(answer, "HeadBucket")
    assert (raised.value.is_settled, raised.value.is_away) == (True, False)
