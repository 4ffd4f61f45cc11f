from __future__ import annotations

import errno
import io
import json
import os
import stat
import sys
import tarfile
import time
from pathlib import Path

import pytest
from django.contrib.sessions.models import Session
from django.core.files import File
from django.core.files.storage import FileSystemStorage, default_storage
from django.core.management import CommandError, call_command
from django.utils import timezone

from gallery.backups import making, manifest, reading
from gallery.backups.errors import BackupNotMade
from gallery.models import Image
from gallery.storage.bucket import BucketStorage
from tests.gallery.backups import archives
from tests.gallery.backups.machines import no_more_than
from tests.gallery.backups.state import contents
from tests.gallery.uploads import stored

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


def test_a_backup_is_a_tar_that_only_its_owner_may_read(file, images):
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with tarfile.open(file) as tar:
        names = tar.getnames()
        stored_file = tar.extractfile(f"files/{images[0].file.name}")
        assert stored_file is not None
        assert stored_file.read() == Path(images[0].file.path).read_bytes()
    assert names[0] == manifest.START
    assert names[-2:] == [manifest.MANIFEST, manifest.END]
    assert len([name for name in names if name.startswith("files/")]) == len(contents())
    assert not list(file.parent.glob("*.partial"))


def test_it_says_what_it_is_and_holds_no_session_and_no_key(file, images):
    with reading.opened(file) as backup:
        known = backup.manifest
    assert known.active_space is not None
    assert known.active_space.name == "bundled"
    assert known.active_space.vectors_by_table["gallery_imageembedding"] == len(images)
    assert known.rows_of("gallery_image") == len(images)
    assert known.migrations["gallery"].startswith("0")
    assert known.file_counts.kept == known.file_counts.named == 3 * len(images)
    assert {one.origin for one in known.proof.vectors} == {"asked", "stored", "text"}
    assert "boats" in [one.name for one in known.proof.searches]
    assert known.proof.left_out == []
    assert "django_session" not in {table.name for table in known.tables}


def test_sessions_are_left_out(images, tmp_path):
    Session.objects.create(
        session_key="secret-of-a-login", session_data="x", expire_date=timezone.now()
    )
    call_command("backup", str(tmp_path / "b.tar"))
    assert b"secret-of-a-login" not in (tmp_path / "b.tar").read_bytes()


def test_missing_and_damaged_files_are_told_and_the_rest_is_kept(images, tmp_path, capsys, empty):
    default_storage.delete(images[0].thumbnail_small.name)
    Path(images[1].file.path).write_bytes(b"other bytes")
    path = tmp_path / "b.tar"
    with pytest.raises(CommandError, match="1 files were missing and 1 damaged") as raised:
        call_command("backup", str(path))
    assert raised.value.returncode == 1
    told = capsys.readouterr().err
    assert f"{images[0].thumbnail_small.name} (image.thumbnail_small of {images[0].pk})" in told
    assert f"{images[1].file.name} (image.file of {images[1].pk}) is damaged." in told
    call_command("backup", str(path), "--check")
    empty()
    call_command("restore", str(path))
    assert "1 files were missing and 1 damaged" in capsys.readouterr().out
    assert Path(default_storage.path(images[1].file.name)).read_bytes() == b"other bytes"


def test_a_large_file_is_streamed(images, tmp_path, monkeypatch, empty):
    monkeypatch.setattr("gallery.backups.files.MEMORY_BYTES", 100)
    before = contents()
    call_command("backup", str(tmp_path / "b.tar"))
    empty()
    call_command("restore", str(tmp_path / "b.tar"))
    assert contents() == before


def test_lists_of_many_parts(images, tmp_path, monkeypatch):
    monkeypatch.setattr("gallery.backups.files.LIST_FILES", 4)
    monkeypatch.setattr("gallery.backups.tables.PART_BYTES", 100)
    path = tmp_path / "b.tar"
    call_command("backup", str(path))
    call_command("backup", str(path), "--check")
    with reading.opened(path) as backup:
        assert len(backup.manifest.lists) == 5
        assert len([one for one in backup.manifest.tables if len(one.parts) > 5]) > 3


def test_a_file_that_is_there_is_replaced_only_when_it_is_asked_for(file):
    before = file.read_bytes()
    with pytest.raises(CommandError, match="is there already") as raised:
        call_command("backup", str(file))
    assert raised.value.returncode == 2
    assert file.read_bytes() == before
    call_command("backup", str(file), "--replace")
    assert file.read_bytes() != before


def write_and_fail(path: Path) -> None:
    with making.new_file(path, replaces=False) as out:
        out.write(bytes(1 // 0))


def test_two_at_once_and_one_that_failed_leave_nothing(tmp_path):
    path = tmp_path / "b.tar"
    partial = tmp_path / "b.tar.partial"
    with making.new_file(path, replaces=False) as out:
        out.write(b"1")
        with (
            pytest.raises(BackupNotMade, match="Another backup is writing"),
            making.new_file(path, replaces=False),
        ):
            pass
        assert partial.exists()
    assert path.read_bytes() == b"1"
    path.unlink()
    with pytest.raises(ZeroDivisionError):
        write_and_fail(path)
    assert list(tmp_path.glob("b.tar*")) == []
    partial.write_bytes(b"of a backup that was killed, and longer")
    with making.new_file(path, replaces=False) as out:
        out.write(b"2")
    assert path.read_bytes() == b"2"


def test_it_goes_to_standard_output(images, tmp_path, monkeypatch):
    class Out(io.StringIO):
        buffer = io.BytesIO()

    out = Out()
    monkeypatch.setattr(sys, "stdout", out)
    call_command("backup", "-", "--json", stderr=(err := io.StringIO()))
    path = tmp_path / "b.tar"
    path.write_bytes(out.buffer.getvalue())
    assert out.getvalue() == ""
    assert json.loads(err.getvalue())["images"] == len(images)
    monkeypatch.undo()
    call_command("backup", str(path), "--check")


def test_a_backup_where_nothing_can_be_written_is_a_sentence(images):
    with pytest.raises(CommandError, match=r"/proc/b\.tar cannot be written") as raised:
        call_command("backup", "/proc/b.tar")
    assert raised.value.returncode == 2


NAMES = "The names of the files cannot be written into"


def test_a_work_folder_that_takes_nothing_is_told_by_its_own_name(images, tmp_path, settings):
    settings.DATA_DIR = "/proc/semblance"
    with pytest.raises(CommandError, match=f"{NAMES} /proc/semblance") as raised:
        call_command("backup", str(tmp_path / "b.tar"))
    assert raised.value.returncode == 2
    assert list(tmp_path.glob("b.tar*")) == []


def test_a_full_work_folder_is_told_by_its_own_name(images, tmp_path, monkeypatch):
    class Out(io.StringIO):
        buffer = io.BytesIO()

    monkeypatch.setattr(sys, "stdout", Out())
    with no_more_than(100), pytest.raises(CommandError, match=f"{NAMES} {tmp_path}: File too"):
        call_command("backup", "-")


def test_an_empty_gallery_has_a_backup_too(transactional_db, tmp_path, empty):
    call_command("backup", str(tmp_path / "b.tar"))
    empty()
    call_command("restore", str(tmp_path / "b.tar"))
    assert Image.objects.count() == 0


def test_a_bucket_is_kept_and_restored_into_a_folder_and_back(
    transactional_db, moto, use, tmp_path, empty, settings, request
):
    from tests.gallery.storage import servers

    folder = settings.STORAGES
    use(servers.made(servers.address(moto, "b-first")))
    images = request.getfixturevalue("images")
    before = contents()
    assert isinstance(default_storage._wrapped, BucketStorage)
    first = tmp_path / "first.tar"
    call_command("backup", str(first))
    assert b"not-to-be-told" not in first.read_bytes()
    empty()
    settings.STORAGES = folder
    call_command("restore", str(first))
    assert contents() == before
    call_command("backup", str(tmp_path / "second.tar"))
    empty()
    use(servers.made(servers.address(moto, "b-second")))
    call_command("restore", str(tmp_path / "second.tar"))
    assert contents() == before
    assert not default_storage.exists("restore.json")
    assert Image.objects.count() == len(images)


def test_a_list_alone_proves_what_the_storage_has(images, tmp_path, empty, capsys):
    path = tmp_path / "list.tar"
    call_command("backup", str(path), "--files", "list")
    assert not [name for name, _, _ in archives.members(path) if name.startswith("files/")]
    call_command("backup", str(path), "--check")
    content = Path(images[0].file.path).read_bytes()
    Path(images[0].file.path).write_bytes(content[::-1])
    empty(keeps_files=True)
    with pytest.raises(CommandError, match="1 files of the list are not in the storage"):
        call_command("restore", str(path))
    assert "has other bytes than it had" in capsys.readouterr().err
    assert Image.objects.count() == 0
    Path(images[0].file.path).write_bytes(content)
    default_storage.delete(images[1].thumbnail_large.name)
    call_command("restore", str(path))
    assert "1 thumbnails were made anew" in capsys.readouterr().out
    call_command("verify", "--hash")


def test_originals_alone_get_their_thumbnails_anew(images, tmp_path, empty, capsys):
    before = {name for name in contents() if name.startswith("thumbnails")}
    path = tmp_path / "originals.tar"
    call_command("backup", str(path), "--files", "originals")
    with reading.opened(path) as backup:
        assert backup.manifest.file_counts.kept == len(images)
    empty()
    call_command("restore", str(path))
    assert f"{len(before)} thumbnails were made anew" in capsys.readouterr().out
    assert {name for name in contents() if name.startswith("thumbnails")} == before
    call_command("verify", "--hash")


def test_what_came_after_a_list_was_made_stays_in_the_storage(images, tmp_path, empty, capsys):
    path = tmp_path / "list.tar"
    call_command("backup", str(path), "--files", "list")
    late = stored(77)
    default_storage.delete(images[1].thumbnail_large.name)
    names = [late.file.name, late.thumbnail_small.name, late.thumbnail_large.name]
    for name in names:
        os.utime(default_storage.path(name), (0, time.time() - 2 * 3600))
    empty(keeps_files=True)
    call_command("restore", str(path))
    assert all(map(default_storage.exists, names))
    told = capsys.readouterr()
    assert "1 thumbnails were made anew" in told.out
    assert "3 files of the storage have no row: they came after the backup" in told.err


class Unreadable(io.BytesIO):
    """A file that is opened, and breaks off."""

    number = 0

    def read(self, *_):
        raise OSError(self.number, os.strerror(self.number))


@pytest.mark.parametrize("number", [errno.EIO, errno.ETIMEDOUT, errno.ESTALE])
def test_a_large_file_that_breaks_off_is_damaged_only_by_its_disk(
    images, tmp_path, monkeypatch, capsys, number
):
    """A folder of the network that is away says nothing of its files."""
    monkeypatch.setattr("gallery.backups.files.MEMORY_BYTES", 100)
    monkeypatch.setattr(Unreadable, "number", number)
    real = FileSystemStorage._open

    def breaking(self, name, mode="rb"):
        opened = real(self, name, mode)
        if name != images[0].file.name:
            return opened
        with opened:
            return File(Unreadable(opened.read()), name)

    monkeypatch.setattr(FileSystemStorage, "_open", breaking)
    path = tmp_path / "b.tar"
    is_damaged = number == errno.EIO
    match = "0 files were missing and 1 damaged" if is_damaged else os.strerror(number)
    with pytest.raises(CommandError, match=match) as raised:
        call_command("backup", str(path))
    assert raised.value.returncode == (1 if is_damaged else 2)
    assert path.exists() == is_damaged
    assert ("is damaged" in capsys.readouterr().err) == is_damaged


def test_a_file_that_may_not_be_read_is_not_taken_for_lost(file, images, monkeypatch):
    real = FileSystemStorage._open

    def may_not(self, name, mode="rb"):
        if name == images[0].file.name:
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(self, name, mode)

    monkeypatch.setattr(FileSystemStorage, "_open", may_not)
    before = file.read_bytes()
    with pytest.raises(CommandError, match="cannot be read: Permission denied") as raised:
        call_command("backup", str(file), "--replace")
    assert raised.value.returncode == 2
    assert file.read_bytes() == before


def test_a_backup_that_lacks_most_files_takes_the_place_of_none(file, monkeypatch, settings):
    monkeypatch.setattr(making, "_FEW_LOST", 3)
    before = file.read_bytes()
    settings.MEDIA_ROOT = f"{settings.MEDIA_ROOT}-is-not-mounted"
    with pytest.raises(CommandError, match=r"missing or damaged; .* is kept") as raised:
        call_command("backup", str(file), "--replace")
    assert raised.value.returncode == 2
    assert file.read_bytes() == before
    other = file.with_name("other.tar")
    with pytest.raises(CommandError, match="whole but for them"):
        call_command("backup", str(other), "--replace")
    assert other.exists()
