"""Originals in places of others: a restore tells of those it cannot read, and asks no stranger."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command

from gallery.backups.manifest import FileChoice
from gallery.importers import Source
from gallery.importers.folder import Folder
from gallery.importers.s3 import Bucket
from gallery.imports import engine, ledger
from gallery.models import Image, Place, Reference
from tests.gallery.storage import servers
from tests.gallery.uploads import picture
from tests.rows import make_user

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

SEEDS = (70, 71)


@pytest.fixture
def photos(tmp_path: Path, settings) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in SEEDS:
        (folder / f"{seed}.png").write_bytes(picture(seed))
    settings.REFERENCED_FOLDERS = (str(folder),)
    return folder


@pytest.fixture
def stranger() -> Iterator[socket.socket]:
    """A server in this machine's network that must not be asked."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0)
        yield listener


def bring_in(source: Source) -> None:
    engine.work(ledger.start(source, make_user()))


def refer(image: Image, address: str) -> None:
    """Let the original of an image be in a place that nobody can read."""
    default_storage.delete(str(image.file.name))
    Image.objects.filter(pk=image.pk).update(file="")
    place = Place.objects.create(address=address)
    Reference.objects.create(image=image, place=place, key="a.png", version="1")


def restored_but(file: Path) -> None:
    """A restore must come to its end and say that not all is as it was."""
    with pytest.raises(CommandError, match="Restored, but not all is as it was") as raised:
        call_command("restore", str(file))
    assert raised.value.returncode == 1
    assert not default_storage.exists("restore.json")
    with pytest.raises(CommandError, match="The database is not empty"):
        call_command("restore", str(file))


@pytest.mark.parametrize("choice", list(FileChoice))
def test_a_folder_that_is_not_allowed_here_is_told_and_all_else_restored(
    images, photos, tmp_path, empty, settings, capsys, choice
):
    bring_in(Folder(path=str(photos), in_place=True))
    path = tmp_path / "b.tar"
    call_command("backup", str(path), "--files", choice)
    empty(keeps_files=choice == FileChoice.LIST)
    allowed, settings.REFERENCED_FOLDERS = settings.REFERENCED_FOLDERS, ()
    restored_but(path)
    told = capsys.readouterr()
    assert (
        f"The place {photos} cannot be read: "
        "the folder of the originals is not in REFERENCED_FOLDERS."
    ) in told.err
    assert f"Restored: {len(images) + len(SEEDS)} images" in told.out
    assert "0 answers differ" in told.out
    settings.REFERENCED_FOLDERS = allowed
    call_command("check_storage", "--repair")
    call_command("verify", "--hash")


@pytest.mark.parametrize("choice", [FileChoice.ALL, FileChoice.ORIGINALS])
def test_no_server_is_asked_that_only_the_backup_names(
    images, tmp_path, empty, capsys, stranger, choice
):
    endpoint = f"http://127.0.0.1:{stranger.getsockname()[1]}"
    refer(images[0], f"s3://pictures/2024?endpoint={endpoint}&timeout=1&attempts=1")
    path = tmp_path / "b.tar"
    call_command("backup", str(path), "--files", choice)
    empty()
    restored_but(path)
    told = capsys.readouterr().err
    assert (
        f"The place s3://pictures/2024 cannot be read: {endpoint} is not in REFERENCED_ENDPOINTS."
    ) in told
    with pytest.raises(BlockingIOError):
        stranger.accept()


def test_the_server_of_the_own_storage_is_asked(
    images, moto, use, tmp_path, empty, capsys, settings
):
    outside = servers.address(moto, "b-of-others")
    servers.made(outside).save("70.png", ContentFile(picture(70)))
    settings.REFERENCED_ENDPOINTS = (moto,)
    bring_in(Bucket(url=outside, in_place=True))
    settings.REFERENCED_ENDPOINTS = ()
    path = tmp_path / "b.tar"
    call_command("backup", str(path))
    empty()
    use(servers.made(servers.address(moto, "b-restored")))
    call_command("restore", str(path))
    servers.opened(outside).delete("70.png")
    capsys.readouterr()
    with pytest.raises(CommandError, match="1 things do not agree"):
        call_command("verify")
    assert "It is not in its place any more" in capsys.readouterr().out


def test_an_address_that_is_none_is_told(images, tmp_path, empty, capsys):
    refer(images[0], "s3://pictures?endpoint=nonsense")
    call_command("backup", str(tmp_path / "b.tar"))
    empty()
    restored_but(tmp_path / "b.tar")
    assert (
        "The place s3://pictures cannot be read: its address is wrong: its endpoint must be"
    ) in capsys.readouterr().err
