"""Videos come in by the ledger as images do: one item each, whatever dies in between."""

from __future__ import annotations

import zipfile

import pytest
from django.core.files.storage import default_storage
from django.utils import timezone

from gallery.importers import Skipped
from gallery.importers.archive import Archive
from gallery.importers.folder import Folder
from gallery.imports import engine, ledger
from gallery.models import Image, ImportItem, ImportRun, ItemState, RunState, Video
from gallery.removal import delete_images
from gallery.storage.listings import stored_files
from gallery.trees import names
from tests.gallery import commands
from tests.gallery.videos import drawing
from tests.images import make_images
from tests.rows import make_user
from tests.workers import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def a_frame_every_second(settings):
    settings.VIDEO_FRAME_SECONDS = 1


@pytest.fixture(scope="module")
def film() -> bytes:
    return drawing.video(seconds=4)


@pytest.fixture
def folder(tmp_path, film):
    place = tmp_path / "pictures"
    place.mkdir()
    (place / "film.webm").write_bytes(film)
    (place / "photo.jpg").write_bytes(make_images.sound())
    (place / "text.mp4").write_bytes(b"This is a text.")
    return place


def run_of(source, **given):
    run = ledger.start(source, make_user(), **given)
    engine.work(run)
    assert run.state == RunState.DONE
    return run


def states(run) -> dict[str, str]:
    return dict(run.items.values_list("name", "state"))


def files() -> set[str]:
    return {file.name for file in stored_files(default_storage)}


def test_a_video_is_one_item_and_says_what_became_of_it(folder):
    run = run_of(Folder(path=str(folder)))
    assert states(run) == {
        "film.webm": ItemState.NEW,
        "photo.jpg": ItemState.NEW,
        "text.mp4": ItemState.FAILED,
    }
    video = Video.objects.get()
    item = run.items.get(name="film.webm")
    assert (item.video, item.image) == (video, video.frames.get(video_seconds=0))
    assert "no video of a kind" in run.items.get(name="text.mp4").reason
    assert Image.objects.count() == 5


def test_the_same_folder_again_changes_nothing(folder, film):
    run_of(Folder(path=str(folder)))
    before = files()
    run = run_of(Folder(path=str(folder)))
    assert states(run)["film.webm"] == ItemState.HELD
    # And where it is opened once more, because it has another time.
    (folder / "film.webm").write_bytes(film)
    assert states(run_of(Folder(path=str(folder))))["film.webm"] == ItemState.HELD
    assert (Image.objects.count(), files()) == (5, before)


def test_undoing_removes_the_video_with_its_frames_and_nothing_else(folder, film):
    other = drawing.stored(film, owner="bob")
    before = files()
    run = run_of(Folder(path=str(folder)))
    # One frame, the item's own, was deleted meanwhile.
    delete_images(Image.objects.filter(pk=run.items.get(name="film.webm").image_id))
    ledger.undo(run)
    engine.work(run)
    assert run.state == RunState.UNDONE
    assert Video.objects.get() == other
    assert Image.objects.count() == 4
    assert files() == before


def test_a_dry_run_stores_nothing(folder):
    run = run_of(Folder(path=str(folder)), is_dry_run=True)
    assert states(run)["film.webm"] == ItemState.NEW
    assert (Image.objects.count(), Video.objects.count(), files()) == (0, 0, set())


def test_where_videos_are_off_they_are_left_out_with_a_reason(folder, settings):
    settings.VIDEO_FRAMES = "off"
    run = run_of(Folder(path=str(folder)))
    item = run.items.get(name="film.webm")
    assert (item.state, item.reason[:7]) == (ItemState.SKIPPED, "A video")
    assert states(run)["text.mp4"] == ItemState.SKIPPED


def test_a_video_in_an_archive_comes_in(tmp_path, film):
    path = tmp_path / "all.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/film.webm", film)
        archive.writestr("a/film.webm.json", '{"caption": "A ball"}')
    run = run_of(Archive(path=str(path)))
    assert states(run) == {"film.webm": ItemState.NEW}
    assert set(Image.objects.values_list("caption", flat=True)) == {"A ball"}


def test_the_moving_part_of_a_photo_is_left_out(tmp_path):
    for name in ("IMG_1.HEIC", "IMG_1.MOV", "IMG_2.MOV", "IMG_3.heic", "IMG_3.mp4", "IMG_4.jpg"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "IMG_4.mov").write_bytes(b"x")
    items = list(Folder(path=str(tmp_path)).items())
    skipped = {item.key: item.reason for item in items if isinstance(item, Skipped)}
    assert set(skipped) == {"IMG_1.MOV", "IMG_3.mp4", "IMG_4.mov"}
    assert skipped["IMG_1.MOV"] == "The moving part of IMG_1.HEIC, which is imported."


def test_a_video_beside_its_poster_and_one_whose_photo_is_left_out_are_items(tmp_path):
    for name in ("Holiday.mp4", "holiday.jpg", "IMG_1.HEIC", "IMG_1.MOV", "IMG_2.jpg", "clip.mp4"):
        (tmp_path / name).write_bytes(b"x")
    with (tmp_path / "IMG_2.mov").open("wb") as file:
        file.truncate(100 * 10**6)  # no telephone makes so much of a moment
    items = list(Folder(path=str(tmp_path), ignore=("*.HEIC",)).items())
    assert [item.key for item in items if isinstance(item, Skipped)] == ["IMG_1.HEIC"]


def test_in_an_archive_the_size_of_a_moving_part_counts_too(tmp_path):
    path = tmp_path / "all.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("IMG_1.jpg", "IMG_1.mov", "IMG_2.jpg"):
            archive.writestr(name, b"x")
        archive.writestr("IMG_2.mov", bytes(31 * 10**6))
    items = list(Archive(path=str(path)).items())
    assert [item.key for item in items if isinstance(item, Skipped)] == ["IMG_1.mov"]


def test_a_video_may_be_larger_than_an_image(tmp_path, film, settings):
    settings.MAX_IMAGE_BYTES = 1000
    settings.VIDEO_MAX_BYTES = 10**6
    path = tmp_path / "all.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("film.webm", film)
        archive.writestr("photo.jpg", bytes(2000))
    run = run_of(Archive(path=str(path)))
    # Its frames are no larger than an image may be either.
    assert "MAX_IMAGE_MEGABYTES" in run.items.get(name="photo.jpg").reason


def test_the_endings_of_videos_are_those_of_no_image():
    assert not names.VIDEO_SUFFIXES & (names.IMAGE_SUFFIXES | names.ARCHIVE_SUFFIXES)


@pytest.mark.slow
def test_a_process_that_is_killed_while_it_takes_frames_leaves_each_of_them_once(tmp_path):
    place = tmp_path / "films"
    place.mkdir()
    for n in range(3):
        content = drawing.mp4(
            seconds=14, rate=10, picture=drawing.quarters, size=(640 + 16 * n, 480)
        )
        (place / f"{n}.mp4").write_bytes(content)
    wanted = ["import_images", "folder", str(place), "--owner", make_user().username]
    with commands.start(*wanted, VIDEO_FRAME_SECONDS="1") as first:
        wait_until(lambda: len(files()) >= 10 or first.poll() is not None)
        first.kill()
        first.communicate()
    assert Video.objects.count() < 3
    ImportRun.objects.update(lease_until=timezone.now())  # half a minute later
    with commands.start(*wanted, VIDEO_FRAME_SECONDS="1") as second:
        _, problem = second.communicate(timeout=240)
    assert second.returncode == 0, problem
    assert Video.objects.count() == 3
    for video in Video.objects.all():
        seconds = list(
            video.frames.order_by("video_seconds").values_list("video_seconds", flat=True)
        )
        assert len(seconds) == len(set(seconds)) == 14
    assert set(ImportItem.objects.values_list("state", flat=True)) == {ItemState.NEW}
