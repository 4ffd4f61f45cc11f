"""Real processes and disks that fail, and what is true in the end: `verify` is the judge."""

from __future__ import annotations

import io
import os
import subprocess
from contextlib import contextmanager, suppress

import psutil
import pytest
from django.db import connection
from PIL import Image as PillowImage

from embeddings import live
from gallery import spaces, tasks
from gallery.decoding import decoders
from gallery.errors import StorageUnavailable
from gallery.ingest import NewImage, add_image
from gallery.models import Image, ImageEmbedding, ImageEmbeddingJob, State
from gallery.pipeline import embed_waiting
from gallery.verification import disagreements
from scenes import compose, draw
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


def assert_embedded_once(n):
    """Each image got one vector, and it was written once."""
    assert list(disagreements()) == []
    assert ImageEmbedding.objects.count() == n
    assert not ImageEmbeddingJob.objects.exists()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*), count(DISTINCT subject_id) FROM embeddings_change"
            " JOIN embeddings_feed USING (table_id) WHERE table_name = %s"
            " AND subject_id IN (SELECT id FROM gallery_image)",
            [ImageEmbedding._meta.db_table],
        )
        assert cursor.fetchone() == (n, n)


def test_two_workers_at_once_one_of_them_killed_embed_each_image_once(start_worker):
    images = [add(seed) for seed in range(60)]
    variables = {"JOB_LEASE_SECONDS": "3", "ENCODER_BATCH": "4"}
    workers = [start_worker(**variables) for _ in range(2)]

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
    ImageEmbeddingJob.objects.update(not_before=None)
    wait_until(lambda: are_all_ready(len(images)), worker=worker, seconds=120)
    assert_embedded_once(len(images))


@contextmanager
def small_disk(folder, kilobytes):
    folder.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.skipif(os.getuid() != 0, reason="only root may mount a small disk")
def test_a_full_disk_refuses_images_whole_and_takes_them_when_there_is_room(settings):
    noise = [PillowImage.effect_noise((300, 300), 90 + seed).convert("RGB") for seed in range(8)]

    def add_noise(seed):
        file = io.BytesIO()
        noise[seed].save(file, "PNG")
        return add_image(NewImage(file=file, owner=make_user())).image

    with small_disk(settings.MEDIA_ROOT, kilobytes=600):
        taken = 0
        with suppress(StorageUnavailable):
            while add_noise(taken):
                taken += 1
        assert 0 < taken < len(noise)
        with pytest.raises(StorageUnavailable, match="No space left on device"):
            add_noise(taken)
        embed_waiting()
        assert_embedded_once(taken)
        assert len([path for path in settings.MEDIA_ROOT.rglob("*") if path.is_file()]) == 3 * taken

        subprocess.run(["mount", "-o", "remount,size=20m", str(settings.MEDIA_ROOT)], check=True)
        for seed in range(taken, len(noise)):
            add_noise(seed)
        embed_waiting()
        assert_embedded_once(len(noise))
    decoders.close()
