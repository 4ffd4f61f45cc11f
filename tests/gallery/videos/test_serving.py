"""A video's file in parts, for those who may see it; and the pages of its frames."""

from __future__ import annotations

import pytest
from django.test import Client

from gallery.models import Image, Video, Visibility
from gallery.views import videos
from tests.gallery.uploads import as_user
from tests.gallery.videos import drawing
from tests.gallery.videos.drawing import stored
from tests.rows import make_user

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def a_frame_every_second(settings):
    settings.VIDEO_FRAME_SECONDS = 1


@pytest.fixture(scope="module")
def film() -> bytes:
    return drawing.video(seconds=4)


def get(client, video, **headers):
    return client.get(f"/videos/{video.uuid}/file", headers=headers)


def test_a_public_video_is_there_for_everybody(client, film):
    answer = get(client, stored(film))
    assert (answer.status_code, answer.getvalue()) == (200, film)
    assert answer.headers["Content-Type"] == "video/webm"
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["Content-Length"] == str(len(film))
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Disposition"] == 'inline; filename="film.webm"'


def test_a_private_video_is_there_for_its_owner_and_administrators_only(film):
    video = stored(film, visibility="private")
    for user, status in (
        (None, 404),
        (make_user("bob"), 404),
        (make_user("ann"), 200),
        (make_user("root", is_superuser=True), 200),
    ):
        client = Client()
        if user:
            client.force_login(user)
        answer = get(client, video)
        answer.getvalue()
        assert answer.status_code == status


def test_a_hidden_frame_hides_the_file(client, film):
    video = stored(film)
    video.frames.filter(video_seconds=2).update(visibility=Visibility.PRIVATE)
    assert get(client, video).status_code == 404


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [("0-99", 0, 99), ("100-", 100, None), ("-50", -50, None), ("0-999999999", 0, None)],
)
def test_a_part_that_is_asked_for_is_sent_alone(client, film, asked, first, last):
    answer = get(client, stored(film), Range=f"bytes={asked}")
    part = film[first:] if last is None else film[first : last + 1]
    assert (answer.status_code, answer.getvalue()) == (206, part)
    start = first % len(film)
    end = start + len(part) - 1
    assert answer.headers["Content-Range"] == f"bytes {start}-{end}/{len(film)}"
    assert answer.headers["Content-Length"] == str(len(part))


def test_a_part_is_never_longer_than_what_holds_a_thread_for_a_moment(client, film, monkeypatch):
    monkeypatch.setattr(videos, "PART_BYTES", 1000)
    video = stored(film)
    answer = get(client, video, Range="bytes=10-")
    assert answer.getvalue() == film[10:1010]
    assert answer.headers["Content-Range"] == f"bytes 10-1009/{len(film)}"
    assert get(client, video).getvalue() == film


def test_a_part_behind_the_end_is_416(client, film):
    answer = get(client, stored(film), Range=f"bytes={len(film)}-")
    assert answer.status_code == 416
    assert answer.headers["Content-Range"] == f"bytes */{len(film)}"
    assert "Cache-Control" not in answer.headers
    assert get(client, stored(film), Range="bytes=-0").status_code == 416


@pytest.mark.parametrize("asked", ["bytes=0-1,5-6", "bytes=9-3", "pages=1-2", "bytes=-", "bytes"])
def test_what_is_no_single_part_gives_the_whole(client, film, asked):
    answer = get(client, stored(film), Range=asked)
    assert (answer.status_code, answer.getvalue()) == (200, film)


def test_a_part_of_another_version_gives_the_whole(client, film):
    video = stored(film)
    etag = f'"{video.sha256}"'
    same = get(client, video, **{"Range": "bytes=0-9", "If-Range": etag})
    other = get(client, video, **{"Range": "bytes=0-9", "If-Range": '"other"'})
    assert (same.status_code, other.status_code) == (206, 200)
    assert (same.getvalue(), other.getvalue()) == (film[:10], film)


def test_who_has_it_already_is_told_so(client, film):
    video = stored(film)
    etag = f'"{video.sha256}"'
    held = get(client, video, **{"If-None-Match": etag})
    assert (held.status_code, held.headers["Cache-Control"]) == (304, "private, max-age=3600")


def test_what_is_not_sent_is_not_kept(client, film):
    answer = get(client, stored(film), **{"If-Match": '"another"'})
    assert (answer.status_code, answer.headers.get("Cache-Control")) == (412, None)


def test_head_tells_the_length_without_the_bytes(client, film):
    answer = client.head(f"/videos/{stored(film).uuid}/file")
    assert (answer.getvalue(), answer.headers["Content-Length"]) == (b"", str(len(film)))


def test_a_file_lost_from_the_storage_is_404(client, film):
    video = stored(film)
    video.file.storage.delete(video.file.name)
    assert get(client, video).status_code == 404
    assert get(client, video, Range="bytes=0-9").status_code == 404


def test_what_browsers_do_not_play_is_downloaded(client):
    video = stored(drawing.video("avi", codec="mpeg4", seconds=1), original_name='a"<b>.mp4')
    answer = get(client, video)
    answer.getvalue()
    assert answer.headers["Content-Disposition"] == 'attachment; filename="a__b_.avi"'


# Pages


def test_the_page_of_a_frame_opens_the_video_there(client, film):
    video = stored(film, caption="A ball")
    frame = video.frames.get(video_seconds=2)
    page = client.get(frame.get_absolute_url()).content.decode()
    assert f'src="/videos/{video.uuid}/file#t=2"' in page
    assert "<video controls" in page
    for other in video.frames.all():
        assert other.get_absolute_url() in page
    assert f"/?filter=video:{video.uuid}" in page
    assert "Delete the video" not in page


def test_the_page_of_a_frame_of_a_hidden_video_shows_the_frame_alone(client, film):
    video = stored(film)
    video.frames.filter(video_seconds=1).update(visibility=Visibility.PRIVATE)
    page = client.get(video.frames.get(video_seconds=2).get_absolute_url()).content.decode()
    assert "<video" not in page
    assert "it is private, or one of its frames is" in page
    assert str(video.frames.get(video_seconds=1).uuid) not in page


def test_the_address_of_a_video_leads_to_its_first_frame(client, film):
    video = stored(film)
    first = video.frames.get(video_seconds=0)
    assert client.get(f"/videos/{video.uuid}").headers["Location"] == first.get_absolute_url()


def test_a_frame_in_a_grid_says_when_it_is(client, film):
    stored(film)
    page = client.get("/").content.decode()
    assert "▷ 0:03" in page


def test_the_owner_hides_and_deletes_the_whole_video(client, film):
    video = stored(film)
    client.force_login(make_user())
    client.post(f"/videos/{video.uuid}/change", {"visibility": "private"})
    assert set(video.frames.values_list("visibility", flat=True)) == {"private"}
    assert client.post(f"/videos/{video.uuid}/delete").status_code == 302
    assert (Video.objects.count(), Image.objects.count()) == (0, 0)


def test_nobody_else_changes_a_video(client, film):
    video = stored(film)
    client.force_login(make_user("bob"))
    assert client.post(f"/videos/{video.uuid}/delete").status_code == 403
    assert client.post(f"/videos/{video.uuid}/change", {"visibility": "private"}).status_code == 403
    assert video.frames.filter(visibility="public").count() == 4


# API


def test_the_api_tells_a_video_with_its_frames(film):
    video = stored(film)
    answer = as_user().get(f"/api/v1/videos/{video.uuid}").json()
    assert (answer["id"], answer["file_name"]) == (str(video.uuid), "film.webm")
    assert answer["file_url"] == f"/videos/{video.uuid}/file"
    assert [frame["seconds"] for frame in answer["frames"]] == [0, 1, 2, 3]


def test_the_api_tells_of_an_image_which_video_it_is_of(film):
    video = stored(film)
    frame = video.frames.get(video_seconds=2)
    answer = as_user().get(f"/api/v1/images/{frame.uuid}").json()
    place = f"/videos/{video.uuid}/file#t=2"
    assert answer["video"] == {"id": str(video.uuid), "seconds": 2, "url": place}


def test_the_api_takes_a_video(film):
    from django.core.files.uploadedfile import SimpleUploadedFile

    file = SimpleUploadedFile("film.webm", film, "video/webm")
    (stored_,) = as_user().post("/api/v1/images", {"file": file, "caption": "A ball"}).json()
    video = Video.objects.get()
    assert stored_["video"] == str(video.uuid)
    assert stored_["id"] == str(video.frames.get(video_seconds=0).uuid)


def test_the_api_changes_and_deletes_only_what_is_one_s_own(film):
    video = stored(film)
    address = f"/api/v1/videos/{video.uuid}"
    assert as_user("bob").delete(address).status_code == 403
    hidden = as_user().patch(address, {"visibility": "private"}, content_type="application/json")
    assert hidden.json()["visibility"] == "private"
    answer = as_user("bob").get(address)
    sentence = "There is nothing of this id here, or you may not see it."
    assert (answer.status_code, answer.json()) == (404, {"detail": sentence})
    assert as_user().delete(address).status_code == 204
    assert not Image.objects.exists()
