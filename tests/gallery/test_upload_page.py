from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone

from gallery import pipeline, spaces
from gallery.models import Image, State, Visibility
from tests.gallery.uploads import png, stored
from tests.rows import make_user

pytestmark = pytest.mark.django_db

HTMX = {"HX-Request": "true"}
FIELDS = {"caption": "", "tags": "", "album": "", "visibility": "public"}


@pytest.fixture
def ann(client):
    client.force_login(make_user())
    return client


def no_image(name="notes.txt"):
    return SimpleUploadedFile(name, b"no image at all")


def progress(client, since, **headers):
    return client.get("/upload/progress", {"since": since.isoformat()}, headers=headers)


def test_uploading_needs_a_login(client):
    for address in ("/upload", "/upload/progress"):
        assert client.get(address).url.startswith("/login?next=/upload")
    assert client.post("/upload", {"images": png(), **FIELDS}).status_code == 302
    assert not Image.objects.exists()


def test_a_form_from_elsewhere_is_refused():
    client = Client(enforce_csrf_checks=True)
    client.force_login(make_user())
    assert client.post("/upload", {"images": png(), **FIELDS}).status_code == 403


def test_many_files_are_taken_in_without_a_script(ann):
    stored(3)
    files = [png(1, "one.png"), png(2, "two.png"), png(3, "again.png"), no_image()]
    answer = ann.post("/upload", {"images": files, **FIELDS})
    assert answer.status_code == 200
    assert Image.objects.count() == 3
    assert answer.text.count("Stored</a>") == 2
    assert answer.text.count("Already there</a>") == 1
    assert "not an image of a kind that is taken" in answer.text


def test_what_is_said_goes_into_every_record(ann):
    fields = {"caption": "Boats", "tags": "Sea, red", "album": "Harbour", "visibility": "private"}
    ann.post("/upload", {"images": [png(1), png(2)], **fields})
    for image in Image.objects.all():
        assert (image.caption, image.visibility, image.album.name) == (
            "Boats",
            "private",
            "Harbour",
        )
        assert [tag.name for tag in image.tags.all()] == ["red", "sea"]
        assert image.owner == make_user()
        assert image.state == State.WAITING


def test_the_script_gets_one_line_for_its_file(ann):
    new = ann.post("/upload", {"images": png(), **FIELDS}, headers=HTMX).text
    again = ann.post("/upload", {"images": png(), **FIELDS}, headers=HTMX).text
    refused = ann.post("/upload", {"images": no_image("<b>.png"), **FIELDS}, headers=HTMX).text
    for line in (new, again, refused):
        assert line.count("<li") == 1
        assert "<form" not in line
    assert "data-new" in new
    assert "Already there" in again
    assert "&lt;b&gt;.png" in refused


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({}, "Choose at least one image."),
        ({"images": png(), "visibility": "secret"}, "not one of the available choices"),
        ({"images": png(), "caption": "x" * 10_001}, "at most 10000 characters"),
    ],
)
def test_a_wrong_form_is_refused_with_a_sentence(ann, fields, sentence):
    for headers in ({}, HTMX):
        answer = ann.post("/upload", FIELDS | fields, headers=headers)
        assert answer.status_code == 400
        assert sentence in answer.text
    assert not Image.objects.exists()


def test_too_many_files_at_once_are_refused_with_a_page(ann, settings):
    settings.DATA_UPLOAD_MAX_NUMBER_FILES = 1
    answer = ann.post("/upload", {"images": [png(1), png(2)], **FIELDS})
    assert answer.status_code == 400
    assert "cannot be read" in answer.text
    assert not Image.objects.exists()


def test_the_usual_visibility_is_chosen_already(ann, settings):
    settings.DEFAULT_VISIBILITY = Visibility.PRIVATE
    assert re.search(r'value="private" checked', ann.get("/upload").text)
    assert not re.search(r'value="public" checked', ann.get("/upload").text)


def test_the_page_says_who_will_see_the_images(ann, settings):
    assert "everybody who can open this site" in ann.get("/upload").text
    settings.PUBLIC_SEARCH = False
    assert "everybody who is logged in" in ann.get("/upload").text


def test_polling_goes_on_until_every_image_is_embedded(ann):
    spaces.ensure()
    since = timezone.now()
    images = [stored(1), stored(2)]
    waiting = progress(ann, since, **HTMX)
    assert waiting.status_code == 200
    assert "0 of 2 ready" in waiting.text
    pipeline.embed_waiting()
    done = progress(ann, since, **HTMX)
    assert done.status_code == 286
    assert "2 images ready" in done.text
    for image in images:
        assert image.get_absolute_url() in done.text


def test_progress_says_why_an_image_failed(ann):
    since = timezone.now()
    stored()
    Image.objects.update(state=State.FAILED, failure="The file is cut short.")
    done = progress(ann, since, **HTMX)
    assert done.status_code == 286
    assert "The file is cut short." in done.text


def test_progress_is_a_page_too(ann):
    since = timezone.now()
    stored()
    page = progress(ann, since)
    assert page.status_code == 200
    assert "<html" in page.text
    assert "0 of 1 ready" in page.text


def test_progress_shows_ones_own_images_since_then_only(ann):
    stored(1, owner="bob")
    old = stored(2)
    Image.objects.filter(pk=old.pk).update(added_at=datetime(2020, 1, 1, tzinfo=UTC))
    answer = progress(ann, timezone.now() - timedelta(hours=1), **HTMX)
    assert answer.status_code == 286
    assert "/images/" not in answer.text


@pytest.mark.parametrize("since", [None, "", "yesterday", "2026-99-99T00:00:00Z"])
def test_a_wrong_time_gets_a_sentence(ann, since):
    answer = ann.get("/upload/progress", {"since": since} if since is not None else {})
    assert answer.status_code == 400
    assert "since" in answer.text
