"""Folders that go away under an import: it stops or waits, and no item fails."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from gallery.importers import ItemUnreadable, SourceAway, SourceUnreadable
from gallery.importers.folder import Folder
from gallery.importers.openimages import OpenImages
from gallery.importers.watch import Watch
from gallery.imports import engine, leases, ledger, listing
from gallery.imports.storing import Outcome, Storer
from gallery.models import ImportRun, ItemState, RunState
from gallery.storage import places
from gallery.storage.originals import Original
from gallery.trees import beneath
from tests.images import make_images
from tests.rows import make_user

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def folder(tmp_path, settings):
    folder = tmp_path / "photos"
    (folder / "b").mkdir(parents=True)
    for number, name in enumerate(("1.png", "2.png", "b/3.png")):
        (folder / name).write_bytes(make_images.sound("PNG", width=20 + number, height=20))
    settings.REFERENCED_FOLDERS = (str(folder),)
    return folder


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("gallery.imports.storing.PAUSE_SECONDS", 0.01)


def listed(source) -> ImportRun:
    """Return a run whose process has listed all and stored nothing."""
    run = ledger.start(source, make_user())
    lease = leases.take(run)
    listing.write(run, [listing.row_of(item) for item in source.items()])
    lease.recount()
    lease.keep(is_listed=True)
    lease.give_back()
    run.refresh_from_db()
    return run


def states(run: ImportRun) -> dict[str, int]:
    return {state: n for state, n in ledger.counts(run).items() if n}


def emptied(folder: Path) -> None:
    """Leave the folder as a mount point is whose disk is gone, with what systems put there."""
    away = folder.rename(folder.parent / "away")
    folder.mkdir()
    (folder / "lost+found").mkdir()
    assert away.exists()


@pytest.fixture
def is_silent(monkeypatch, folder):
    """Let the folder not answer, as one on a network that is gone."""
    silent = [True]
    real = os.open

    def open_(path, *arguments, **options):
        if silent and path == str(folder):
            raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")
        return real(path, *arguments, **options)

    monkeypatch.setattr(beneath.os, "open", open_)
    return silent


@pytest.mark.parametrize("in_place", [False, True])
def test_a_folder_that_is_emptied_meanwhile_fails_no_item(folder, in_place):
    source = Folder(path=str(folder), in_place=in_place)
    run = listed(source)
    storer = Storer(run, source)
    first, *_, last = run.items.order_by("key")
    opened = storer.open(first)
    assert not isinstance(opened, Outcome)
    opened.close()
    for path in (folder / "1.png", folder / "2.png", folder / "b" / "3.png"):
        path.unlink()
    # One by one, as somebody deletes them: then each is missing.
    assert storer.open(last).state == ItemState.FAILED
    (folder / "b").rmdir()
    with pytest.raises(SourceUnreadable, match=r"is empty\. Is its disk there\?"):
        storer.open(first)
    folder.rename(folder.parent / "away")
    with pytest.raises(SourceUnreadable, match="There is no folder"):
        storer.open(first)
    folder.mkdir()
    (folder / "other.png").touch()
    with pytest.raises(SourceUnreadable, match="has been replaced"):
        storer.open(first)


@pytest.mark.parametrize("in_place", [False, True])
def test_a_folder_that_was_listed_before_it_went_stops_the_run_in_the_next_process(
    folder, in_place
):
    run = listed(Folder(path=str(folder), in_place=in_place))
    emptied(folder)
    engine.work(run)
    assert run.state == RunState.BROKEN
    assert "The folder is empty, but an import has found 3 files in it before" in run.failure
    assert states(run) == {"waiting": 3}


@pytest.mark.parametrize("in_place", [False, True])
def test_a_network_folder_that_does_not_answer_is_waited_for(folder, in_place, is_silent):
    run = listed(Folder(path=str(folder), in_place=in_place))
    engine.work(run, goes_on=lambda: not run.failure)
    assert run.state == RunState.RUNNING
    assert run.failure == (
        "Waiting: The source does not answer: Transport endpoint is not connected."
    )
    assert states(run) == {"waiting": 3}
    assert not run.items.filter(attempts__gt=0).exists()
    is_silent.clear()
    engine.work(run)
    assert (run.state, run.failure, states(run)) == (RunState.DONE, "", {"new": 3})


def test_what_stops_to_answer_while_it_is_read_fails_no_item(folder):
    class Dying:
        """A file of a network folder whose server goes away."""

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def seek(self, *_):
            raise OSError(errno.EHOSTDOWN, "Host is down")

    source = Folder(path=str(folder))
    run = listed(source)
    with pytest.raises(SourceAway, match="Host is down"):
        Storer(run, source).store(run.items.first(), Dying())
    assert states(run) == {"waiting": 3}


def test_a_part_of_a_folder_that_does_not_answer_is_not_left_out(folder, monkeypatch):
    real = os.scandir

    def scandir(path):
        if str(path).endswith("/b"):
            raise OSError(errno.ESTALE, "Stale file handle")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(SourceAway, match="Stale file handle"):
        list(Folder(path=str(folder)).items())


def test_a_watched_folder_that_is_away_is_waited_for(folder):
    source = Watch(path=str(folder))
    with pytest.raises(ItemUnreadable, match="not there any more"):
        source.open("gone.png\\@1")
    away = folder.rename(folder.parent / "away")
    with pytest.raises(SourceAway, match="Watching goes on when it is there again"):
        source.open("1.png\\@1")
    folder.mkdir()
    with pytest.raises(SourceAway, match="is empty"):
        source.open("1.png\\@1")
    folder.rmdir()
    away.rename(folder)
    source.open("1.png\\@1").close()


def test_originals_in_place_are_no_more_lost_than_those_that_are_imported(folder):
    original = Original(address=str(folder), key="1.png", version="1:1")
    emptied(folder)
    with pytest.raises(OSError, match="empty or not there") as caught:
        places.place_of(original).version(original.key)
    assert caught.value.errno == errno.ESTALE


def test_a_list_whose_folder_is_not_mounted_is_not_done(folder, tmp_path):
    table = tmp_path / "images.csv"
    table.write_text("ImageID,OriginalURL\n1,https://example.org/1.jpg\n")
    emptied(folder)
    run = ledger.start(OpenImages(tables=(str(table),), images=str(folder)), make_user())
    engine.work(run)
    assert (run.state, states(run)) == (RunState.BROKEN, {})
    assert run.failure == "The folder photos is empty. Is its disk there? Go on when it is."
