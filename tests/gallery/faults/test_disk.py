"""A disk that is full: of the files alone, and of the database too."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from PIL import Image as PillowImage

from embeddings import live
from gallery import spaces
from gallery.decoding import decoders
from gallery.errors import StorageUnavailable
from gallery.ingest import NewImage, add_image
from gallery.pipeline import embed_waiting
from launcher.environment import temporary_data_dir
from tests.gallery.faults.embedded import assert_embedded_once
from tests.gallery.faults.site import Site, make_pictures
from tests.rows import make_user

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.getuid() != 0, reason="only root may mount a small disk"),
]

PICTURES = 120


@contextmanager
def small_disk(folder: Path, *, kilobytes: int) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k,mode=711", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def enlarge(folder: Path, *, kilobytes: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={kilobytes}k", str(folder)], check=True)


@pytest.mark.django_db(transaction=True)
def test_a_full_disk_refuses_images_whole_and_takes_them_when_there_is_room(settings):
    live.forget_all()
    spaces.ensure()
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

        enlarge(settings.MEDIA_ROOT, kilobytes=20_000)
        for seed in range(taken, len(noise)):
            add_noise(seed)
        embed_waiting()
        assert_embedded_once(len(noise))
    decoders.close()


def test_an_import_stops_at_a_full_disk_with_a_sentence_and_goes_on(site: Site, tmp_path):
    folder = make_pictures(tmp_path / "pictures", PICTURES)
    words = ("import_images", "folder", folder, "--no-wait")
    with small_disk(site.media, kilobytes=800):
        stopped = site.run(*words)
        assert stopped.returncode == 1
        assert "The files cannot be stored: No space left on device." in stopped.stderr
        assert "the same command goes on from here" in stopped.stderr
        here = site.count("gallery_image")
        assert 0 < here < PICTURES
        # No item is at fault, but for the one that is no image.
        assert site.count("gallery_importitem WHERE state = 'failed'") <= 1
        assert len(site.files()) == 3 * here

        enlarge(site.media, kilobytes=20_000)
        site.worker()
        site.beat()
        done = site.run(*words)
        assert "1 failed" in done.stdout, done.stderr
        assert site.count("gallery_importrun") == 1
        site.wait_until(lambda: site.is_embedded(PICTURES))
        site.assert_whole(PICTURES, failed=1)


def test_a_full_disk_that_the_database_lies_on_too_loses_nothing(made_site: Site, tmp_path):
    folder = make_pictures(tmp_path / "pictures", PICTURES)
    words = ("import_images", "folder", folder, "--no-wait")
    with temporary_data_dir() as data_dir, small_disk(data_dir, kilobytes=500_000):
        made_site.copy_to(data_dir)
        with Site(data_dir) as site:
            site.worker()
            site.beat()
            ballast = data_dir / "ballast"
            with ballast.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(data_dir).free - 900_000)
            stopped = site.run(*words)
            assert stopped.returncode == 1
            assert 0 < site.count("gallery_image") < PICTURES
            ballast.unlink()
            done = site.run(*words)
            assert "1 failed" in done.stdout, done.stderr
            site.wait_until(lambda: site.is_embedded(PICTURES))
            site.assert_whole(PICTURES, failed=1, orphans=30)
