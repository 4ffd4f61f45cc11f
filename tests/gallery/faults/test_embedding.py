"""Workers and decoders are killed while images are embedded."""

from __future__ import annotations

import io
from contextlib import suppress

import psutil
import pytest
from django.utils import timezone

from embeddings import live
from gallery import spaces, tasks
from gallery.ingest import NewImage, add_image
from gallery.models import Image, ImageEmbedding, ImageEmbeddingJob, State
from scenes import compose, draw
from tests.gallery.faults.embedded import assert_embedded_once
from tests.rows import make_user
from tests.workers import Worker, wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


@pytest.fixture(autouse=True)
def space():
    live.forget_all()
    return spaces.ensure()


@pytest.fixture
def start_worker(tmp_path):
    workers = []

    def start(**variables):
        worker = Worker(tmp_path / f"worker-{len(workers)}.log", **variables)
        workers.append(worker)
        return worker

    yield start
    for worker in workers:
        worker.stop()


def add(seed):
    file = io.BytesIO()
    draw(compose(seed), size=(128, 96)).save(file, "PNG")
    return add_image(NewImage(file=file, owner=make_user(), original_name=f"{seed}.png")).image


def are_all_ready(n):
    tasks.wake()  # as beat does
    return Image.objects.filter(state=State.READY).count() == n


def test_two_workers_at_once_one_of_them_killed_embed_each_image_once(start_worker):
    images = [add(seed) for seed in range(60)]
    # Of the one that is killed, the other waits for the end of the lease.
    leases = {"JOB_LEASE_SECONDS": "6"}, {}
    workers = [start_worker(ENCODER_BATCH="4", **lease) for lease in leases]

    def is_begun():
        tasks.wake()
        return ImageEmbedding.objects.count() >= 8

    wait_until(is_begun, worker=workers[0])
    workers[0].kill()
    wait_until(lambda: are_all_ready(len(images)), worker=workers[1], seconds=120)
    assert_embedded_once(len(images))


def test_decoders_that_are_killed_all_the_time_lose_no_image(start_worker):
    images = [add(seed) for seed in range(40)]
    worker = start_worker(JOB_MAX_ATTEMPTS="20", ENCODER_BATCH="4")
    tasks.wake()
    killed = set()

    def kill_another():
        for child in psutil.Process(worker.process.pid).children(recursive=True):
            with suppress(psutil.Error):
                if "gallery.decoding.child" in child.cmdline():
                    child.kill()
                    killed.add(child.pid)
        return len(killed) >= 4

    wait_until(kill_another, worker=worker)

    def is_done():
        put_off = ImageEmbeddingJob.objects.filter(not_before__gt=timezone.now())
        put_off.update(not_before=None)
        return are_all_ready(len(images))

    wait_until(is_done, worker=worker, seconds=120)
    assert_embedded_once(len(images))
