"""Undoing an import takes back the albums that it has made."""

from __future__ import annotations

import io
import threading

import pytest
from django.db import connections

from gallery.descriptions import Description
from gallery.importers.folder import Folder
from gallery.imports import engine, ledger
from gallery.ingest import NewImage, add_image
from gallery.models import Album, Image
from gallery.videos.intake import add_sent_file
from tests.images import make_images
from tests.rows import make_user

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def folder(tmp_path):
    for number, name in enumerate(("Boats", "Trees", "Kept")):
        (tmp_path / "in" / name).mkdir(parents=True)
        content = make_images.sound("PNG", width=20 + number, height=20)
        (tmp_path / "in" / name / "1.png").write_bytes(content)
    return str(tmp_path / "in")


def brought_in(folder, **options):
    run = ledger.start(Folder(path=folder, folders="albums"), make_user(), **options)
    engine.work(run)
    return run


def undone(run):
    ledger.undo(run)
    engine.work(run)
    assert run.state == "undone"


def albums():
    return set(Album.objects.values_list("name", flat=True))


def test_albums_that_it_made_go_with_their_images(folder):
    run = brought_in(folder)
    assert albums() == {"Boats", "Trees", "Kept"}
    undone(run)
    assert albums() == set()


def test_an_album_that_was_there_or_has_another_image_now_stays(folder):
    Album.objects.create(owner=make_user(), name="Boats")
    run = brought_in(folder)
    file = io.BytesIO(make_images.sound("PNG", width=50, height=20))
    kept, _ = add_image(NewImage(file=file, owner=make_user(), album="Kept"))
    undone(run)
    assert albums() == {"Boats", "Kept"}
    kept.refresh_from_db()
    assert kept.album is not None


def test_what_two_imports_put_into_an_album_keeps_it_until_both_are_undone(folder, tmp_path):
    first = brought_in(folder)
    (tmp_path / "in" / "Boats" / "2.png").write_bytes(make_images.sound("PNG", width=60, height=20))
    second = brought_in(folder)
    undone(first)
    assert albums() == {"Boats"}
    undone(second)
    assert Image.objects.count() == 0
    assert albums() == set()


def test_one_album_of_all_goes_too_and_a_dry_run_makes_none(folder):
    brought_in(folder, is_dry_run=True)
    assert albums() == set()
    run = ledger.start(Folder(path=folder), make_user(), defaults=Description(album="All of it"))
    engine.work(run)
    assert albums() == {"All of it"}
    undone(run)
    assert albums() == set()


def test_an_empty_album_of_one_undone_before_is_no_business_of_another(folder, tmp_path):
    """What was there before stays: its owner has kept it then, and emptied it since."""
    first = brought_in(folder)
    file = io.BytesIO(make_images.sound("PNG", width=50, height=20))
    kept, _ = add_image(NewImage(file=file, owner=make_user(), album="Kept"))
    undone(first)
    kept.album = None
    kept.save()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "2.png").write_bytes(make_images.sound("PNG", width=60, height=20))
    undone(brought_in(str(tmp_path / "other")))
    assert albums() == {"Kept"}


def test_an_upload_whose_album_goes_in_that_moment_comes_all_the_same(folder):
    before = Album.objects.create(owner=make_user(), name="Trip")
    file = io.BytesIO(make_images.sound("PNG", width=50, height=20))
    new = NewImage(file=file, owner=make_user(), album="Trip", original_name="1.png")
    deleted = []

    def delete():
        before.delete()
        connections.close_all()

    def note(_added):
        if not deleted:
            deleted.append(before.pk)
            thread = threading.Thread(target=delete)
            thread.start()
            thread.join()

    added = add_sent_file(new, note=note)
    assert added.is_new
    assert Image.objects.get().album == Album.objects.get()
    assert Album.objects.get().pk not in deleted
