"""Videos that are sent in parts, which take their time and are asked after meanwhile."""

from __future__ import annotations

import io

import psycopg
import pytest
from django.db import connection

from gallery.models import Image, Upload, UploadState, Video
from gallery.uploads import finishing
from gallery.videos import intake
from tests.gallery.test_upload_parts import begin, patch
from tests.gallery.uploads import as_user
from tests.gallery.videos import drawing
from tests.images import make_images

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def film() -> bytes:
    return drawing.video(seconds=3)


def test_a_video_in_parts_comes_in_and_its_upload_names_the_first_frame(film, settings):
    settings.VIDEO_FRAME_SECONDS = 1
    ann = as_user()
    address = begin(ann, film, filename="film.webm", caption="A ball")["Location"]
    last = patch(ann, address, 0, film)
    video = Video.objects.get()
    first = video.frames.get(video_seconds=0)
    assert (last["Upload-State"], last["Upload-Image"]) == ("new", first.get_absolute_url())
    assert set(Image.objects.values_list("caption", flat=True)) == {"A ball"}


def test_what_is_no_video_is_refused_with_its_sentence():
    ann = as_user()
    address = begin(ann, b"a text", filename="film.mp4")["Location"]
    answer = patch(ann, address, 0, b"a text")
    assert answer.status_code == 422
    assert "no video of a kind" in answer.json()["detail"]


def test_a_video_may_be_larger_than_an_image(settings):
    settings.MAX_IMAGE_BYTES, settings.VIDEO_MAX_BYTES = 1000, 5000
    ann = as_user()
    assert begin(ann, bytes(2000), filename="film.mp4").status_code == 201
    assert begin(ann, bytes(2000), filename="photo.jpg").status_code == 413
    assert begin(ann, bytes(6000), filename="film.mp4").status_code == 413


def test_while_one_process_works_on_a_video_another_leaves_it_alone(film):
    ann = as_user()
    address = begin(ann, film, filename="film.webm")["Location"]
    upload = Upload.objects.get()
    database = connection.get_connection_params()
    known = {
        name: database[name]
        for name in ("dbname", "user", "password", "host", "port")
        if database.get(name)
    }
    with psycopg.connect(**known) as other:
        other.execute("SELECT pg_advisory_lock(%s, %s)", [finishing._FINISH_LOCK, upload.pk])
        answer = patch(ann, address, 0, film)
        assert (answer.status_code, answer.headers.get("Upload-State")) == (204, None)
        upload.refresh_from_db()
        assert (upload.state, upload.attempts) == (UploadState.ARRIVING, 0)
    again = patch(ann, address, len(film), b"")
    assert again["Upload-State"] == "new"


def test_a_video_waits_while_its_process_is_at_another_and_images_do_not(film):
    ann = as_user()
    address = begin(ann, film, filename="film.webm")["Location"]
    photo = make_images.sound()
    with intake._one_video:
        answer = patch(ann, address, 0, film)
        assert (answer.status_code, answer.headers.get("Upload-State")) == (204, None)
        upload = Upload.objects.get()
        assert (upload.state, upload.attempts) == (UploadState.ARRIVING, 0)
        other = begin(ann, photo, filename="photo.jpg")["Location"]
        assert patch(ann, other, 0, photo)["Upload-State"] == "new"
        whole = ann.post("/api/v1/images", {"file": io.BytesIO(film)})
        assert (whole.status_code, "another video" in whole.json()["detail"]) == (503, True)
        assert whole.headers["Retry-After"] == "60"
    assert patch(ann, address, len(film), b"")["Upload-State"] == "new"
