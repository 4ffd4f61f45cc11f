from __future__ import annotations

import errno
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest
from django.conf import settings as site
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, default_storage
from django.core.management import CommandError, call_command
from django.db import connection

from gallery.errors import StorageUnavailable
from gallery.models import Image
from gallery.storage import moving
from gallery.storage.listings import stored_files
from gallery.storage.moving import Fate, Move
from tests.gallery.storage import servers
from tests.gallery.uploads import stored
from tests.workers import wait_until

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def own_data_folder(settings, tmp_path):
    settings.DATA_DIR = tmp_path


@pytest.fixture
def bucket_url(moto):
    url = servers.address(moto, f"b{uuid4().hex}")
    servers.made(url)
    return url


def contents(storage):
    found = {}
    for file in stored_files(storage):
        with storage.open(file.name) as opened:
            found[file.name] = hashlib.sha256(opened.read()).hexdigest()
    return found


def move(source, target, tmp_path, **options):
    return list(Move(source=source, target=target, state_dir=tmp_path, threads=2, **options).run())


def fates(moved):
    return sorted(one.fate.value for one in moved)


@pytest.mark.django_db
def test_a_library_moves_to_a_bucket_and_on_to_another_and_back(moto, bucket_url, tmp_path, capsys):
    for seed in range(3):
        stored(seed)
    before = contents(default_storage)
    default_storage.save("images/orphan.png", ContentFile(b"no row names it"))
    call_command("move_storage", "local", bucket_url)
    assert "9 copied, 0 already there, 0 failed." in capsys.readouterr().out
    assert contents(servers.opened(bucket_url)) == before
    second = servers.address(moto, f"b{uuid4().hex}", prefix="")
    servers.made(second)
    call_command("move_storage", bucket_url, second)
    back = tmp_path / "back"
    call_command("move_storage", second, str(back))
    assert contents(FileSystemStorage(location=back)) == before
    call_command("move_storage", second, str(back))
    assert "0 copied, 9 already there, 0 failed." in capsys.readouterr().out
    assert Image.objects.first().file.name in before


@pytest.mark.django_db
def test_what_is_not_proved_is_told_and_tried_again(tmp_path, capsys):
    image, lost = stored(0), stored(1)
    path = Path(image.file.path)
    content = path.read_bytes()
    path.write_bytes(content[::-1])
    default_storage.delete(lost.file.name)
    with pytest.raises(CommandError, match="Not all files are there"):
        call_command("move_storage", "local", str(tmp_path / "new"))
    told = capsys.readouterr()
    assert "4 copied, 0 already there, 2 failed." in told.out
    assert f"{image.file.name}: the source's bytes are not those that were stored." in told.err
    assert f"{lost.file.name}: the source does not have it." in told.err
    path.write_bytes(content)
    lost.delete()
    call_command("move_storage", "local", str(tmp_path / "new"))
    assert (tmp_path / "new" / image.file.name).read_bytes() == content


@pytest.mark.django_db
def test_half_a_file_at_the_target_is_copied_again(tmp_path):
    image = stored()
    new = FileSystemStorage(location=tmp_path / "new")
    new.save(image.file.name, ContentFile(b"half"))
    assert fates(move(default_storage, new, tmp_path)) == ["copied"] * 3
    assert contents(new) == contents(default_storage)


class Spoiling(FileSystemStorage):
    """A disk that keeps other bytes than it is given, and does not do what `fails` names."""

    def __init__(self, *, fails: str, **options) -> None:
        super().__init__(**options)
        self.fails = fails

    def _save(self, name, content):
        return super()._save(name, ContentFile(content.read()[::-1]))

    def _open(self, name, mode="rb"):
        return self._unless_it_fails("read", super()._open, name, mode)

    def delete(self, name):
        return self._unless_it_fails("delete", super().delete, name)

    def _unless_it_fails(self, what, act, *given):
        if what == self.fails:
            raise OSError(errno.EIO, "Input/output error")
        return act(*given)


@pytest.mark.django_db
@pytest.mark.parametrize("fails", ["read", "delete"])
def test_what_failed_is_read_back_by_every_later_run_until_it_is_proved(
    tmp_path, monkeypatch, fails
):
    monkeypatch.setattr(moving, "_AT_ONCE", 2)  # so one batch comes after the other
    image = stored(0)
    stored(1)
    spoiling = Spoiling(location=tmp_path / "new", fails=fails)
    for _ in range(2):
        assert fates(move(default_storage, spoiling, tmp_path)) == ["failed"] * 6
    before = contents(default_storage)
    path = Path(default_storage.path(image.file.name))
    path.rename(tmp_path / "lost")
    new = FileSystemStorage(location=tmp_path / "new")
    assert fates(move(default_storage, new, tmp_path)) == ["copied"] * 5 + ["failed"]
    (tmp_path / "lost").rename(path)
    assert fates(move(default_storage, new, tmp_path)) == ["copied"] + ["held"] * 5
    assert contents(new) == before
    assert not list(tmp_path.glob("move-*.json"))


@pytest.mark.django_db
def test_a_journal_that_cannot_be_written_is_told_as_such(tmp_path, settings):
    stored()
    new = FileSystemStorage(location=tmp_path / "new")
    name = Move(source=default_storage, target=new, state_dir=tmp_path)._journal_name()
    (tmp_path / name).with_suffix(".new").symlink_to("/dev/full")
    with pytest.raises(StorageUnavailable, match=r"^What is not proved .* No space left on device"):
        move(default_storage, new, tmp_path)
    settings.DATA_DIR = tmp_path / "file"
    settings.DATA_DIR.write_bytes(b"")
    with pytest.raises(CommandError, match="What is not proved cannot be noted"):
        call_command("move_storage", str(settings.MEDIA_ROOT), str(tmp_path / "new"))


class ReadOnly(FileSystemStorage):
    def _save(self, name, content):
        raise OSError(errno.EROFS, "Read-only file system")


@pytest.mark.django_db
def test_a_source_that_takes_no_file_is_told_as_such_before_anything_is_deleted(tmp_path, settings):
    stored()
    before = contents(default_storage)
    source = ReadOnly(location=settings.MEDIA_ROOT)
    new = FileSystemStorage(location=tmp_path / "new")
    with pytest.raises(StorageUnavailable, match=r"^FROM takes no file.*: Read-only file system"):
        move(source, new, tmp_path, deletes=True)
    assert contents(default_storage) == before


@pytest.mark.django_db
def test_a_target_that_cannot_be_listed_is_named(moto, tmp_path):
    stored()
    away = servers.opened(servers.address(moto, "nobodys-bucket"))
    with pytest.raises(StorageUnavailable, match=r"^TO cannot be listed: .*no such bucket"):
        move(default_storage, away, tmp_path)


@pytest.mark.django_db
def test_nothing_is_deleted_unless_it_is_asked_for_and_proved(tmp_path, settings):
    image = stored()
    shutil.copytree(settings.MEDIA_ROOT, tmp_path / "old")
    old = FileSystemStorage(location=tmp_path / "old")
    before = contents(old)
    new = FileSystemStorage(location=tmp_path / "new")
    with pytest.raises(CommandError, match="FROM is the storage of STORAGE_URL"):
        call_command("move_storage", str(settings.MEDIA_ROOT), str(tmp_path / "new"), "--delete")
    move(old, new, tmp_path)
    assert contents(old) == before
    # Of the same size and other bytes: the hash tells, and it is copied anew before it is deleted.
    path = Path(new.path(image.file.name))
    path.write_bytes(path.read_bytes()[::-1])
    assert fates(move(old, new, tmp_path, deletes=True)) == ["copied", "held", "held"]
    assert contents(new) == before
    assert contents(old) == {}
    assert fates(move(old, new, tmp_path)) == ["held"] * 3


@pytest.mark.django_db
def test_the_same_storage_twice_and_two_moves_at_once_are_refused(tmp_path, settings):
    stored()
    stored(1)
    with pytest.raises(CommandError, match="the same storage"):
        call_command("move_storage", "local", str(tmp_path / "media"))
    new = FileSystemStorage(location=tmp_path / "new")
    first = Move(source=default_storage, target=new, state_dir=tmp_path, threads=1).run()
    assert next(first).fate is Fate.COPIED
    with pytest.raises(CommandError, match="Another move"):
        call_command("move_storage", "local", str(tmp_path / "new"))
    assert len(list(first)) == 5


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("address", "sentence"),
    [("s3://x", "is wrong: it must name a bucket"), ("images", "full path")],
)
def test_a_wrong_address_is_a_sentence(address, sentence):
    with pytest.raises(CommandError, match=sentence):
        call_command("move_storage", "local", address)


@pytest.mark.django_db
def test_a_bucket_that_is_not_there_is_a_sentence(moto):
    with pytest.raises(CommandError, match=r"no bucket nobodys-bucket\.|no such bucket"):
        call_command("move_storage", "local", servers.address(moto, "nobodys-bucket"))


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_a_move_that_is_killed_goes_on_where_it_was(bucket_url, tmp_path, capsys):
    for seed in range(24):
        stored(seed)
    url = os.environ["DATABASE_URL"]
    environ = os.environ | {
        "DATABASE_URL": f"{url.rsplit('/', 1)[0]}/{connection.settings_dict['NAME']}",
        "DATA_DIR": str(site.MEDIA_ROOT.parent),
    }
    target = servers.opened(bucket_url)
    command = [sys.executable, "manage.py", "move_storage", "local", bucket_url, "--threads=1"]
    with subprocess.Popen(command, cwd=ROOT, env=environ) as process:
        try:
            wait_until(lambda: len(list(stored_files(target))) >= 3, seconds=150)
        finally:
            process.kill()
    before = len(list(stored_files(target)))
    assert before < 3 * 24
    assert list(tmp_path.glob("move-*.json"))
    call_command("move_storage", "local", bucket_url)
    assert "0 failed" in capsys.readouterr().out
    assert contents(target) == contents(default_storage)
    assert not list(tmp_path.glob("move-*.json"))


@pytest.mark.django_db
def test_one_bucket_by_two_names_is_not_emptied(moto, settings, capsys):
    stored()
    url = servers.address(moto, f"b{uuid4().hex}")
    bucket = servers.made(url)
    call_command("move_storage", "local", url)
    before = contents(bucket)
    other = url.replace("127.0.0.1", "localhost")
    assert other != url
    with pytest.raises(CommandError, match="the same storage"):
        call_command("move_storage", url, other, "--delete")
    assert contents(bucket) == before
    settings.STORAGES = settings.STORAGES | {"default": servers.opened(other).address.backend()}
    with pytest.raises(CommandError, match="the same storage"):
        call_command("move_storage", url, "local", "--delete")
    assert contents(bucket) == before
    assert not [name for name in bucket.listdir("")[1] if "probe" in name]


def behind_a_link(folder, elsewhere):
    """Move a folder elsewhere and leave a link, as people do whose disk is full."""
    shutil.move(folder, elsewhere)
    Path(folder).symlink_to(elsewhere)


@pytest.mark.django_db
def test_files_behind_linked_folders_are_moved_too(tmp_path, settings, capsys):
    image = stored(0)
    stored(1)
    folder = Path(image.file.path).parent
    behind_a_link(folder, tmp_path / "another-disk")
    (tmp_path / "another-disk" / "somebody-elses.png").write_bytes(b"x")
    new = tmp_path / "new"
    call_command("move_storage", str(settings.MEDIA_ROOT), str(new))
    assert "6 copied, 0 already there, 0 failed." in capsys.readouterr().out
    assert (new / image.file.name).read_bytes() == Path(image.file.path).read_bytes()
    assert not list(new.rglob("somebody-elses.png"))
    behind_a_link(new / folder.relative_to(settings.MEDIA_ROOT), tmp_path / "a-third-disk")
    call_command("move_storage", str(settings.MEDIA_ROOT), str(new))
    assert "0 copied, 6 already there, 0 failed." in capsys.readouterr().out


@pytest.mark.django_db
@pytest.mark.parametrize("folder", ["images", "thumbnails"])
def test_a_file_that_both_storages_reach_by_links_is_not_deleted(tmp_path, settings, folder):
    stored()
    old = tmp_path / "old"
    shutil.copytree(settings.MEDIA_ROOT, old)
    new = FileSystemStorage(location=tmp_path / "new")
    move(FileSystemStorage(location=old), new, tmp_path)
    before = contents(new)
    shutil.rmtree(old / folder)
    (old / folder).symlink_to(tmp_path / "new" / folder)
    move(FileSystemStorage(location=old), new, tmp_path, deletes=True)
    assert contents(new) == before


@pytest.mark.django_db
def test_a_link_that_leads_to_itself_does_not_end_the_check(settings):
    stored()
    link = Path(settings.MEDIA_ROOT) / "images" / "ab.png"
    link.symlink_to(link)
    assert len(contents(default_storage)) == 3
