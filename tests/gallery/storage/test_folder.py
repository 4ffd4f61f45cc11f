"""A file is on the disk when a row names it: what a power cut leaves is whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from django.core.files.base import ContentFile

from gallery.models import Image
from gallery.storage import addresses
from gallery.storage.folder import FolderStorage
from gallery.storage.opening import open_storage
from tests.gallery.uploads import stored

pytestmark = pytest.mark.django_db


@pytest.fixture
def synced(monkeypatch):
    """Return what was written down while there was no row: inodes, and how many bytes they had."""
    asked: dict[int, int] = {}
    real = os.fsync

    def fsync(descriptor: int) -> None:
        real(descriptor)
        if Image.objects.exists():
            return
        status = os.fstat(descriptor)
        asked[status.st_ino] = status.st_size

    monkeypatch.setattr(os, "fsync", fsync)
    return asked


def test_it_is_the_storage_of_a_folder(tmp_path):
    backend = addresses.parse(str(tmp_path), default=tmp_path).backend()
    assert backend["BACKEND"] == f"{FolderStorage.__module__}.{FolderStorage.__qualname__}"
    assert isinstance(open_storage(str(tmp_path)), FolderStorage)


def test_files_and_the_folders_that_name_them_are_written_down_before_the_row(
    tmp_path, settings, synced
):
    address = addresses.parse(str(tmp_path / "library"), default=tmp_path)
    settings.STORAGES = settings.STORAGES | {"default": address.backend()}
    image = stored()
    for field in (image.file, image.thumbnail_small, image.thumbnail_large):
        path = Path(field.path)
        assert synced[path.stat().st_ino] == path.stat().st_size > 0
        for folder in (path.parent, path.parent.parent, tmp_path / "library", tmp_path):
            assert folder.stat().st_ino in synced


def test_a_disk_that_fails_to_write_is_no_success(tmp_path, monkeypatch):
    def fails(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="Input/output error"):
        FolderStorage(location=tmp_path).save("images/x.png", ContentFile(b"x"))


def test_a_file_system_without_sync_is_used_all_the_same(tmp_path, monkeypatch):
    def unknown(descriptor: int) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "fsync", unknown)
    storage = FolderStorage(location=tmp_path)
    assert storage.save("images/x.png", ContentFile(b"x")) == "images/x.png"
