"""Files that show what an image there shows: told before anything of them is stored."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile

from gallery.duplicates import verdicts
from gallery.models import Image, Upload, UploadSession, UploadState, Verdict
from gallery.uploads import finishing, parts
from tests.gallery.duplicates.pictures import encoded, half, scene, stored
from tests.gallery.test_upload_page import FIELDS
from tests.gallery.test_upload_parts import TUS, begin
from tests.rows import make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def ann(client):
    client.force_login(make_user())
    return client


@pytest.fixture
def held():
    return stored(encoded(scene(1), "PNG"), original_name="mine.png")


SAME = encoded(scene(1), "BMP")
NEAR = encoded(half(scene(1)), "JPEG")
OTHER = encoded(scene(2), "PNG")


def sent(client, content, **said):
    """Send a file in one part."""
    return begin(client, content, part=content, **said)


def files() -> set[Path]:
    return {path for path in Path(settings.MEDIA_ROOT).rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("content", "wanted", "sentence"),
    [
        (SAME, "refuse", "You have an image of the same pixels: mine.png. It was not stored."),
        (SAME, "refuse-near", "You have an image of the same pixels: mine.png. It was not stored."),
        (NEAR, "refuse-near", "It looks much like mine.png. It was not stored."),
    ],
)
def test_nothing_is_stored_of_what_is_there_where_that_is_wanted(
    ann, held, content, wanted, sentence
):
    before = files()
    answer = sent(ann, content, filename="copy", duplicates=wanted)
    assert answer.status_code == 422
    assert answer.json() == {"detail": sentence}
    assert answer["Upload-Like"] == held.get_absolute_url()
    upload = Upload.objects.get()
    assert (upload.state, upload.reason, upload.like) == (UploadState.REFUSED, sentence, held)
    assert Image.objects.get() == held
    assert files() == before
    assert not parts.path_of(upload.uuid).exists()
    told = ann.get(answer["Location"]).json()
    assert (told["like"], told["like_url"]) == (str(held.uuid), held.get_absolute_url())


@pytest.mark.parametrize(
    ("content", "wanted"), [(SAME, "note"), (NEAR, "refuse"), (OTHER, "refuse-near"), (SAME, "")]
)
def test_all_else_is_stored(ann, held, content, wanted):
    said = {"duplicates": wanted} if wanted else {}
    assert sent(ann, content, filename="copy", **said).status_code == 201
    assert Image.objects.count() == 2


def test_the_worker_keeps_to_what_was_wanted(ann, held):
    begin(ann, SAME, part=SAME[:1000], filename="copy", duplicates="refuse")
    upload = Upload.objects.get()
    assert upload.duplicates == "refuse"
    parts.write(upload.uuid, 1000, SAME[1000:])
    Upload.objects.update(received=len(SAME))
    finishing.finish(Upload.objects.get())
    assert Upload.objects.get().like == held


def test_what_was_told_apart_is_stored(ann, held):
    pair = [(held.sha256, hashlib.sha256(SAME).hexdigest())]
    verdicts.remember(held.owner_id, pair, Verdict.DIFFERENT, by=None)
    assert sent(ann, SAME, filename="copy", duplicates="refuse-near").status_code == 201


def test_another_s_images_are_not_told_of(client, held):
    client.force_login(make_user("bob"))
    assert sent(client, SAME, filename="copy", duplicates="refuse-near").status_code == 201


def test_a_wish_that_is_none_is_refused(ann):
    answer = sent(ann, OTHER, filename="a", duplicates="ask me nicely")
    assert answer.status_code == 400
    assert answer.json()["detail"] == "duplicates must be one of: note, refuse, refuse-near."


def test_it_is_sent_again_and_stored_after_all(ann, held):
    refused = sent(ann, SAME, filename="copy", duplicates="refuse-near")
    assert ann.delete(refused["Location"], headers=TUS).status_code == 204
    assert sent(ann, SAME, filename="copy", duplicates="note").status_code == 201
    assert Upload.objects.get().state == UploadState.NEW


def test_the_form_without_script_stores_none_of_it_either(ann, held):
    files = [SimpleUploadedFile("same.bmp", SAME), SimpleUploadedFile("other.png", OTHER)]
    fields = FIELDS | {"duplicates": "refuse-near"}
    page = ann.post("/upload", {"images": files, **fields}, follow=True)
    assert "1 of 2 files stored; 1 not stored, because it shows what you have." in page.text
    assert held.get_absolute_url() in page.text
    assert Image.objects.count() == 2
    session = ann.get(f"/api/v1/upload-sessions/{UploadSession.objects.get().uuid}").json()
    assert (session["new"], session["refused"], session["alike"]) == (1, 1, 1)


def test_the_page_asks_unless_it_is_told_otherwise(ann):
    page = ann.get("/upload").text
    assert '<option value="refuse-near" selected>is not stored before you say so</option>' in page


def test_the_api_names_the_image_that_is_there(ann, held):
    files = [SimpleUploadedFile("near.jpg", NEAR), SimpleUploadedFile("other.png", OTHER)]
    answer = ann.post("/api/v1/images", {"file": files, "duplicates": "refuse-near"})
    assert answer.status_code == 207
    assert answer.json()[0] == {
        "file_name": "near.jpg",
        "error": "It looks much like mine.png. It was not stored.",
        "like": str(held.uuid),
    }
    assert answer.json()[1]["is_new"]
