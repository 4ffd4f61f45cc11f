"""A video comes in whole and goes whole: its file, its frames, and what is said of them."""

from __future__ import annotations

import io
import re
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import AnonymousUser
from django.core.files.storage import FileSystemStorage, default_storage
from django.urls import reverse

from gallery import verification
from gallery.errors import ImageRefused, StorageUnavailable
from gallery.ingest import NewImage
from gallery.models import (
    Caption,
    DuplicateCheck,
    Image,
    ImageEmbeddingJob,
    Video,
    Visibility,
)
from gallery.query import filters, language
from gallery.removal import delete_images
from gallery.storage.listings import is_ours, stored_files
from gallery.videos import adding, changing
from gallery.videos.intake import add_file, look_at
from tests.gallery.videos import drawing
from tests.gallery.videos.drawing import stored
from tests.images import make_images
from tests.rows import make_space, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def a_frame_every_second(settings):
    settings.VIDEO_FRAME_SECONDS = 1


@pytest.fixture(scope="module")
def film() -> bytes:
    return drawing.video(seconds=4)


def new(content: bytes, **given) -> NewImage:
    given = {"owner": make_user(), "original_name": "film.webm", "visibility": "public"} | given
    return NewImage(file=io.BytesIO(content), **given)


def files() -> list[str]:
    return [file.name for file in stored_files(default_storage)]


def test_a_video_is_stored_with_its_frames_as_images(film):
    make_space()
    video = stored(film)
    frames = list(video.frames.order_by("video_seconds"))
    assert [frame.video_seconds for frame in frames] == [0.0, 1.0, 2.0, 3.0]
    assert [frame.original_name for frame in frames[:2]] == ["film 00m00s.jpg", "film 00m01s.jpg"]
    assert {frame.mime_type for frame in frames} == {"image/jpeg"}
    assert (video.mime_type, video.width, video.height) == ("video/webm", 160, 120)
    assert 3.9 <= video.seconds <= 4.1
    with video.file.open("rb") as file:
        assert file.read() == film
    assert ImageEmbeddingJob.objects.count() == 4
    assert len(files()) == 4 * 3 + 1
    assert all(map(is_ours, files()))


def test_what_is_said_of_the_video_is_said_of_each_frame(film):
    when = datetime(2024, 5, 31, 12, tzinfo=UTC)
    video = stored(
        film,
        caption="A ball",
        tags=("ball", "round"),
        album="Films",
        taken_at=when,
        captions=(("catalogue", "It rolls"),),
        latitude=52.5,
        longitude=13.4,
        visibility="private",
    )
    for frame in video.frames.all():
        assert (frame.caption, frame.album.name, frame.latitude) == ("A ball", "Films", 52.5)
        assert [tag.name for tag in frame.tags.all()] == ["ball", "round"]
        assert frame.taken_at == when + timedelta(seconds=frame.video_seconds)
        assert frame.visibility == Visibility.PRIVATE
    assert Caption.objects.filter(source="catalogue").count() == 4
    assert video.visibility == Visibility.PRIVATE


def test_the_same_video_again_gives_back_its_first_frame_and_changes_nothing(film):
    video = stored(film)
    before = files()
    added = add_file(new(film, caption="Another"))
    assert (added.is_new, added.image.video) == (False, video)
    assert added.image.video_seconds == 0.0
    assert (Image.objects.count(), files()) == (4, before)
    assert look_at(new(film)) == added.image


def test_another_owner_has_the_same_video_for_himself(film):
    assert stored(film) != stored(film, owner="bob")
    assert Image.objects.count() == 8


def test_two_who_add_the_same_video_at_once_make_one(film, monkeypatch):
    held, calls = adding._held, []

    def late(new, sha256):
        # The first look sees nothing; meanwhile the other one has come in.
        if calls:
            return held(new, sha256)
        calls.append(sha256)
        stored(film)
        return None

    monkeypatch.setattr(adding, "_held", late)
    calls.append("the inner one looks truly")
    video = stored(film)
    calls.clear()
    added = add_file(new(film))
    assert (added.is_new, added.image.video) == (False, video)
    assert Video.objects.count() == 1
    assert len(files()) == 13


def test_an_image_that_is_called_a_video_is_an_image():
    added = add_file(new(make_images.sound(), original_name="photo.mp4"))
    assert added.image.video is None


def test_a_video_that_is_called_an_image_is_a_video(film):
    assert stored(film, original_name="photo.jpg").frames.count() == 4


@pytest.mark.parametrize("content", [b"Just a text.", b"", b"PK\x03\x04 and so on"])
def test_what_is_called_a_video_and_is_none_is_told_so(content):
    with pytest.raises(ImageRefused, match="no video of a kind"):
        add_file(new(content, original_name="film.mp4"))


def test_where_videos_are_not_taken_a_video_is_refused(film, settings):
    settings.VIDEO_FRAMES = "off"
    with pytest.raises(ImageRefused, match="no videos are taken"):
        add_file(new(film))
    assert files() == []


def test_a_file_over_the_limit_is_refused(film, settings):
    settings.VIDEO_MAX_BYTES = 1000
    with pytest.raises(ImageRefused, match="at most"):
        add_file(new(film))


def test_a_video_over_the_limit_of_time_is_refused(film, settings):
    settings.VIDEO_MAX_SECONDS = 2
    with pytest.raises(ImageRefused, match="minutes"):
        add_file(new(film))
    with pytest.raises(ImageRefused, match="minutes"):
        look_at(new(film))
    assert files() == []


def test_of_a_long_video_the_frames_are_further_apart(settings):
    settings.VIDEO_MAX_FRAMES = 3
    video = stored(drawing.video(seconds=12))
    seconds = sorted(frame.video_seconds for frame in video.frames.all())
    assert len(seconds) == 3
    assert seconds[-1] >= 7
    assert video.notice == ""


def test_of_a_video_that_is_cut_short_the_notice_says_so():
    whole = drawing.video("matroska", codec="libx264", seconds=10, gop=5)
    video = stored(whole[: len(whole) // 2])
    assert re.fullmatch(
        r"Its pictures end at 0:0\d, though it says that it is 0:10 long\.", video.notice
    )
    assert video.frames.count() >= 3


def test_a_storage_that_breaks_off_leaves_nothing(film, monkeypatch):
    save, saved = FileSystemStorage._save, []

    def full(storage, name, content):
        saved.append(name)
        if name.startswith("videos/"):
            raise OSError(28, "No space left on device")
        return save(storage, name, content)

    monkeypatch.setattr(FileSystemStorage, "_save", full)
    with pytest.raises(StorageUnavailable, match="No space left"):
        add_file(new(film))
    assert len(saved) == 13
    assert (Image.objects.count(), Video.objects.count(), files()) == (0, 0, [])


def test_frames_are_stored_side_by_side_and_in_the_order_of_time(film, monkeypatch):
    save, lock = FileSystemStorage._save, threading.Lock()
    under_way, most = 0, 0

    def slow(storage, name, content):
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        time.sleep(0.05)
        with lock:
            under_way -= 1
        return save(storage, name, content)

    monkeypatch.setattr(FileSystemStorage, "_save", slow)
    frames = stored(film).frames.order_by("pk")
    assert [frame.video_seconds for frame in frames] == [0.0, 1.0, 2.0, 3.0]
    assert 1 < most <= adding._STORED_AT_ONCE


def test_frames_are_asked_of_nobody_as_duplicates(film):
    stored(film)
    assert DuplicateCheck.objects.count() == 0
    assert set(Image.objects.values_list("perceptual_hash", flat=True)) == {None}
    assert "" not in Image.objects.values_list("pixel_sha256", flat=True)


# Who sees it


def test_a_video_is_as_hidden_as_its_most_hidden_frame(film):
    video = stored(film)
    visitor, owner = AnonymousUser(), make_user()
    assert Video.objects.visible_to(visitor).get() == video
    video.frames.filter(video_seconds=1).update(visibility=Visibility.PRIVATE)
    assert not Video.objects.visible_to(visitor).exists()
    assert Video.objects.visible_to(owner).get() == video
    assert not Video.objects.visible_to(make_user("bob")).exists()


def test_a_video_does_not_come_to_light_when_what_hid_it_is_deleted(film):
    video = stored(film)
    hidden = video.frames.filter(video_seconds=1)
    hidden.update(visibility=Visibility.PRIVATE)
    delete_images(hidden)
    assert not Video.objects.visible_to(AnonymousUser()).exists()


def test_without_public_search_visitors_see_no_video(film, settings):
    stored(film)
    settings.PUBLIC_SEARCH = False
    assert not Video.objects.visible_to(AnonymousUser()).exists()
    assert Video.objects.visible_to(make_user("bob")).exists()


def test_a_whole_video_is_shown_and_hidden(film):
    video = stored(film)
    changing.show_to(video, "private")
    assert set(video.frames.values_list("visibility", flat=True)) == {"private"}
    changing.show_to(video, "public")
    assert Video.objects.visible_to(AnonymousUser()).exists()
    with pytest.raises(ImageRefused):
        changing.show_to(video, "secret")


# How it goes


def test_a_video_goes_with_the_last_of_its_frames(film, django_capture_on_commit_callbacks):
    video = stored(film)
    first, *others = video.frames.order_by("video_seconds")
    with django_capture_on_commit_callbacks(execute=True):
        delete_images(Image.objects.filter(pk__in=[one.pk for one in others]))
    assert Video.objects.filter(pk=video.pk).exists()
    assert len(files()) == 4
    with django_capture_on_commit_callbacks(execute=True):
        delete_images(Image.objects.filter(pk=first.pk))
    assert not Video.objects.exists()
    assert files() == []


def test_a_whole_video_is_deleted_with_its_files(film, django_capture_on_commit_callbacks):
    video, other = stored(film), stored(film, owner="bob")
    with django_capture_on_commit_callbacks(execute=True):
        assert changing.delete(video) == 4
    assert Video.objects.get() == other
    assert len(files()) == 13


# How it is found


def test_frames_are_found_by_their_video(film):
    video, other = stored(film), stored(film, owner="bob")
    image = add_file(new(make_images.sound(), original_name="photo.jpg")).image

    def found(text: str) -> set[int]:
        images = filters.apply(language.parse(text), Image.objects.all())
        return set(images.values_list("pk", flat=True))

    own = set(video.frames.values_list("pk", flat=True))
    others = set(other.frames.values_list("pk", flat=True))
    assert found("video exists") == own | others
    assert found(f"video:{video.uuid}") == own
    assert found(f"video in ({video.uuid}, {other.uuid})") == own | others
    assert found("NOT video exists") == {image.pk}
    assert found(f"-video:{video.uuid}") == others | {image.pk}


def test_verify_finds_a_video_that_nothing_leads_to(film):
    video = stored(film)
    assert list(verification.of_videos()) == []
    Video.objects.create(
        owner=video.owner, sha256="0" * 64, mime_type="video/mp4",
        width=1, height=1, bytes=1, seconds=1, visibility="public",
    )  # fmt: skip
    video.frames.filter(video_seconds=3).update(video_seconds=99)
    found = [one.sentence for one in verification.of_videos()]
    assert len(found) == 2
    assert "have no frame" in found[0]
    assert "behind the end" in found[1]


def test_a_frame_that_its_owner_has_as_an_image_does_not_keep_the_video_out(film):
    first = stored(film).frames.get(video_seconds=0)
    with first.file.open("rb") as file:
        jpeg = file.read()
    changing.delete(Video.objects.get())
    held = add_file(new(jpeg, original_name="still.jpg")).image
    video = stored(film)
    assert video.frames.count() == 4
    assert held.video is None


def test_a_video_without_frames_can_be_deleted_and_comes_in_again(
    film, django_capture_on_commit_callbacks
):
    video = stored(film)
    Image.objects.all().delete()  # as no way of the gallery's own does
    assert "have no frame" in str(next(verification.of_videos()))
    with pytest.raises(ImageRefused, match="without frames"):
        add_file(new(film))
    with django_capture_on_commit_callbacks(execute=True):
        assert changing.delete(video) == 0
    assert not Video.objects.exists()
    assert not [name for name in files() if name.startswith("videos/")]
    assert stored(film).frames.count() == 4


def test_the_admin_deletes_videos_with_their_frames_and_those_without(
    film, client, django_capture_on_commit_callbacks
):
    video, other = stored(film), stored(film, owner="bob")
    Image.objects.filter(video__uuid=other.uuid).delete()
    client.force_login(make_user("admin", is_superuser=True, is_staff=True))
    chosen = {"action": "delete_selected", "_selected_action": [video.pk, other.pk], "post": "yes"}
    with django_capture_on_commit_callbacks(execute=True):
        client.post(reverse("admin:gallery_video_changelist"), chosen)
    assert (Video.objects.count(), Image.objects.count()) == (0, 0)
    assert not [name for name in files() if name.startswith("videos/")]
