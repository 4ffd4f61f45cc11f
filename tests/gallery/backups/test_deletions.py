"""What people delete while a backup is made, before its file is read or after."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from django.core.files.storage import default_storage
from django.core.management import call_command

from gallery.backups import making
from gallery.backups.making import Backup
from gallery.backups.manifest import FileChoice
from gallery.backups.progress import Silence
from gallery.models import Image, Video
from gallery.removal import delete_images, delete_videos
from tests.gallery.backups.machines import run
from tests.gallery.backups.state import contents
from tests.gallery.uploads import stored
from tests.gallery.videos import drawing

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


class AtFiles(Silence):
    """Does something when the database is written and the files are about to be."""

    def __init__(self, act) -> None:
        super().__init__()
        self._act = act

    def begin(self, step, *, unit, total=None) -> None:
        if step == "files":
            self._act()


class BehindFiles(AtFiles):
    """Does something when all files were read, and the backup is not at its end."""

    def begin(self, step, *, unit, total=None) -> None:
        self._step = step

    def end(self) -> None:
        if self._step == "files":
            self._act()


def made(path: Path, progress: Silence, tmp_path: Path, choice=FileChoice.ALL):
    backup = Backup(
        storage=default_storage, files=choice, threads=2, work_dir=tmp_path, progress=progress
    )
    with making.new_file(path, replaces=False) as out:
        return backup.write_to(out)


def test_what_is_deleted_or_added_meanwhile_leaves_no_row_without_its_file(images, tmp_path, empty):
    def change() -> None:
        delete_images(Image.objects.filter(pk=images[1].pk))
        stored(77)

    path = tmp_path / "b.tar"
    counts = made(path, progress := AtFiles(change), tmp_path).file_counts
    assert (counts.gone, counts.missing) == (3, 0)
    assert counts.kept == 3 * len(images) - 3
    assert progress.told == []
    empty()
    call_command("restore", str(path))
    left = {image.sha256 for image in images} - {images[1].sha256}
    assert set(Image.objects.values_list("sha256", flat=True)) == left
    call_command("verify", "--hash")


@pytest.mark.parametrize("choice", list(FileChoice))
def test_what_is_deleted_after_it_was_read_does_not_come_back(
    images, tmp_path, empty, capsys, choice
):
    Image.objects.filter(pk=images[1].pk).update(visibility="private")
    path = tmp_path / "b.tar"

    def change() -> None:
        delete_images(Image.objects.filter(pk=images[1].pk))

    known = made(path, BehindFiles(change), tmp_path, choice)
    assert known.gone.images == {images[1].pk}
    assert (known.file_counts.gone, known.file_counts.missing) == (0, 0)
    call_command("backup", str(path), "--check")
    assert f"{len(images) - 1} images" in capsys.readouterr().out
    empty(keeps_files=choice == FileChoice.LIST)
    call_command("restore", str(path))
    told = capsys.readouterr()
    assert "1 images were deleted while the backup was made: removed." in told.err
    assert f"Restored: {len(images) - 1} images" in told.out
    assert not Image.objects.filter(sha256=images[1].sha256).exists()
    assert images[1].file.name not in contents()
    call_command("verify", "--hash")


KILLED_AT_ITS_END = """
import os
from gallery.backups import restoring
restoring._forget_the_name = lambda: os.kill(os.getpid(), 9)
"""


def test_a_restore_that_is_killed_at_its_end_proves_the_same_again(images, tmp_path, empty):
    path = tmp_path / "b.tar"
    made(path, BehindFiles(Image.objects.filter(pk=images[1].pk).delete), tmp_path)
    empty()
    run("restore", path, status=-signal.SIGKILL, program=KILLED_AT_ITS_END)
    assert Image.objects.count() == len(images)
    call_command("restore", str(path))  # no answer differs
    assert Image.objects.count() == len(images) - 1
    call_command("verify", "--hash")


@pytest.mark.parametrize("moment", [AtFiles, BehindFiles])
def test_a_video_that_is_deleted_meanwhile_is_not_restored(images, tmp_path, empty, moment):
    video = drawing.stored(drawing.video(seconds=2))
    path = tmp_path / "b.tar"

    def gone() -> None:
        delete_videos(Video.objects.filter(pk=video.pk))

    assert made(path, moment(gone), tmp_path).gone.videos == {video.pk}
    empty()
    call_command("restore", str(path))
    assert not Video.objects.exists()
    assert Image.objects.count() == len(images)
    call_command("verify", "--hash")
