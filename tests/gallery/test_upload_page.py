from __future__ import annotations

import re
import uuid

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone

from gallery import pipeline, spaces
from gallery.descriptions import Description
from gallery.models import Image, State, Upload, UploadSession, UploadState, Visibility
from gallery.uploads import receiving, sessions
from gallery.uploads.descriptions import NewUpload
from gallery.views.upload import IMAGES_SHOWN
from tests.gallery.duplicates import pictures
from tests.gallery.uploads import png, stored
from tests.rows import make_images, make_user

pytestmark = pytest.mark.django_db

HTMX = {"HX-Request": "true"}
FIELDS = {"caption": "", "tags": "", "album": "", "visibility": "public"}


@pytest.fixture
def ann(client):
    client.force_login(make_user())
    return client


def no_image(name="notes.txt"):
    return SimpleUploadedFile(name, b"no image at all")


def sent(client, *files, **fields):
    """Post the form and return the page of its session."""
    return client.post("/upload", {"images": files, **FIELDS, **fields}, follow=True)


def part(client, **query):
    """Ask for the session's part as htmx does."""
    session = UploadSession.objects.get()
    return client.get(session.get_absolute_url(), query, headers=HTMX)


def test_uploading_needs_a_login(client):
    for address in ("/upload", f"/upload/{uuid.uuid4()}"):
        assert client.get(address).url.startswith("/login?next=/upload")
    assert client.post("/upload", {"images": png(), **FIELDS}).status_code == 302
    assert not Image.objects.exists()


def test_a_form_from_elsewhere_is_refused():
    client = Client(enforce_csrf_checks=True)
    client.force_login(make_user())
    assert client.post("/upload", {"images": png(), **FIELDS}).status_code == 403


def test_many_files_are_taken_in_without_a_script(ann):
    stored(3)
    page = sent(ann, png(1, "one.png"), png(2, "two.png"), png(3, "again.png"), no_image())
    assert page.status_code == 200
    assert Image.objects.count() == 3
    assert page.text.count('class="state waiting"') == 3
    assert page.text.count("Already there</a>") == 1
    assert "not an image of a kind that is taken" in page.text
    assert "3 of 4 files stored" in page.text


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


def test_a_hostile_name_is_text_on_the_page(ann):
    assert "&lt;b&gt;.png" in sent(ann, no_image("<b>.png")).text


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({}, "Choose at least one file."),
        ({"images": png(), "visibility": "secret"}, "not one of the available choices"),
        ({"images": png(), "caption": "x" * 10_001}, "at most 10000 characters"),
    ],
)
def test_a_wrong_form_is_refused_with_a_sentence(ann, fields, sentence):
    answer = ann.post("/upload", FIELDS | fields)
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
    sent(ann, png(1), png(2))
    waiting = part(ann)
    assert "0 of 2 ready" in waiting.text
    assert "every 2s" in waiting.text
    assert "<form id" not in waiting.text
    pipeline.embed_waiting()
    done = part(ann)
    assert "2 images ready" in done.text
    assert "every" not in done.text
    for image in Image.objects.all():
        assert image.get_absolute_url() in done.text


def test_what_has_not_changed_is_not_sent_again(ann):
    sent(ann, png(1))
    seen = re.search(r"seen=(\w+)", part(ann).text)[1]
    assert part(ann, seen=seen).status_code == 204
    Image.objects.update(state=State.READY)
    assert part(ann, seen=seen).status_code == 200


def test_the_page_says_why_an_image_failed(ann):
    sent(ann, png(1))
    Image.objects.update(state=State.FAILED, failure="The file is cut short.")
    page = part(ann).text
    assert "The file is cut short." in page
    assert "1 could not be embedded" in page


def test_the_page_says_what_was_not_sent_and_can_give_it_up(ann):
    session = sessions.start(make_user(), Description(), files=3)
    receiving.begin(make_user(), NewUpload(size=10, path="a.png"), session)
    page = ann.get(session.get_absolute_url()).text
    assert "2 files have not been sent, and 1 is here in part" in page
    assert ann.post(f"{session.get_absolute_url()}/discard").status_code == 302
    assert "not been sent" not in ann.get(session.get_absolute_url()).text
    assert not Upload.objects.exists()


def test_nobody_sees_anothers_session(ann, settings):
    session = sessions.start(make_user("bob"), Description(album="Secret"))
    assert ann.get(session.get_absolute_url()).status_code == 404
    assert ann.post(f"{session.get_absolute_url()}/discard").status_code == 404
    assert "Your latest uploads" not in ann.get("/upload").text


def test_coming_back_shows_the_latest_uploads_and_what_was_said(ann):
    sent(ann, png(1), caption="Boats <3", tags="sea", visibility="private")
    session = UploadSession.objects.get()
    assert session.get_absolute_url() in ann.get("/upload").text
    page = ann.get(session.get_absolute_url()).text
    assert "Boats &lt;3" in page
    assert re.search(r'value="private" checked', page)


def test_many_images_come_in_pages(ann):
    session = sessions.start(make_user(), Description())
    ids = make_images(IMAGES_SHOWN + 5)
    Upload.objects.bulk_create(
        Upload(owner=make_user(), session=session, bytes=1, received=1, image_id=int(id_),
               state=UploadState.NEW, expires_at=timezone.now())
        for id_ in ids
    )  # fmt: skip
    address = session.get_absolute_url()
    assert ann.get(address).text.count('class="figure') == IMAGES_SHOWN
    second = ann.get(address, {"page": "2"}).text
    assert second.count('class="figure') == 5
    assert "&amp;page=2" in second
    Upload.objects.update(state=UploadState.HELD)  # of the others too there is a second page
    Upload.objects.bulk_create(
        Upload(owner=make_user(), session=session, bytes=1, received=1, state=UploadState.REFUSED,
               expires_at=timezone.now())
        for _ in range(100)
    )  # fmt: skip
    both = ann.get(address, {"page": "2", "notes": "2"}).text
    links = re.findall(r'href="[^"]*[?]((?:page|notes)=[^"]*)"', both)
    assert links == ["notes=1&amp;page=2", "page=1&amp;notes=2"]
    for hostile in ("0", "-1", "x", "9" * 500):
        assert ann.get(address, {"page": hostile}).status_code == 200


def test_what_a_new_image_is_like_is_linked(ann):
    held = pictures.stored(pictures.encoded(pictures.scene(1), "PNG"))
    again = SimpleUploadedFile("again.bmp", pictures.encoded(pictures.scene(1), "BMP"))
    page = sent(ann, again).content.decode()
    assert f'<a href="{held.get_absolute_url()}">You have an image of the same pixels' in page


def test_a_deleted_image_is_said_to_be_gone(ann):
    sent(ann, png(1))
    Image.objects.all().delete()
    assert "1 deleted since" in part(ann).text


def test_a_storage_that_is_down_is_said_on_the_page(ann, settings):
    settings.MEDIA_ROOT.write_text("a file where a folder should be")
    answer = ann.post("/upload", {"images": png(), **FIELDS})
    assert answer.status_code == 503
    assert "cannot be stored" in answer.text


def test_what_was_refused_stands_before_what_was_there_and_nothing_is_left_out(ann):
    session = UploadSession.objects.create(owner=make_user(), expected=250)
    held, like = stored(1), stored(2)
    Upload.objects.bulk_create(
        Upload(
            session=session,
            owner=make_user(),
            path=f"{n:03}.png",
            bytes=1,
            received=1,
            state=UploadState.REFUSED if n >= 200 else UploadState.HELD,
            reason="It is broken." if n >= 225 else "It looks much like 2.png." if n >= 200 else "",
            like=like if 200 <= n < 225 else None,
            image=held if n < 200 else None,
            expires_at=timezone.now(),
        )
        for n in range(250)
    )
    address, seen = session.get_absolute_url(), []
    for number in (1, 2, 3):
        page = ann.get(address, {"notes": number}).text
        seen += re.findall(r'<span class="breaking">(\d+)\.png</span>', page)
        assert ('rel="next"' in page) == (number < 3)
    assert seen == [f"{n:03}" for n in (*range(225, 250), *range(200, 225), *range(200))]
    assert "&amp;notes=2" in ann.get(address, {"notes": 2}, headers=HTMX).text
