"""Files that show what an image there shows: told before anything of them is stored."""

from __future__ import annotations

import hashlib
import io
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection

from gallery.duplicates import LikeAnother, likeness, verdicts
from gallery.ingest import Added, NewImage, add_image
from gallery.models import Image, OnDuplicates, Upload, UploadSession, UploadState, Verdict
from gallery.uploads import finishing, parts
from tests.gallery.duplicates.pictures import encoded, half, scene, stored
from tests.gallery.test_upload_page import FIELDS
from tests.gallery.test_upload_parts import SESSIONS, TUS, begin, patch
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


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("content", "wanted"), [(SAME, OnDuplicates.REFUSE), (NEAR, OnDuplicates.REFUSE_NEAR)]
)
def test_of_two_alike_that_come_in_together_one_is_stored(content, wanted):
    owner = make_user()
    are_written, are_checked = threading.Barrier(2), threading.Barrier(2)

    def note(added):
        are_written.wait(60)  # neither is committed
        likeness.check(added, wanted)
        # If both were let through, both come here before either is committed.
        with suppress(threading.BrokenBarrierError):
            are_checked.wait(1)

    def add(one):
        try:
            return add_image(NewImage(file=io.BytesIO(one), owner=owner), note=note)
        except LikeAnother as refusal:
            return refusal
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(add, (encoded(scene(1), "PNG"), content)))
    (added,) = (one for one in outcomes if isinstance(one, Added))
    (refusal,) = (one for one in outcomes if isinstance(one, LikeAnother))
    assert refusal.image == added.image == Image.objects.get()


def test_who_waits_long_for_others_of_his_is_told_to_come_again(ann):
    database = connection.get_connection_params()
    names = ("dbname", "user", "password", "host", "port")
    known = {name: database[name] for name in names if database.get(name)}
    key = [likeness._LOCK, make_user().pk]
    with psycopg.connect(**known) as other, connection.cursor() as cursor:
        other.execute("SELECT pg_advisory_lock(%s, %s)", key)
        cursor.execute("SET LOCAL statement_timeout = 1000")
        answer = sent(ann, SAME, filename="a.bmp", duplicates="refuse")
        assert (answer.status_code, answer.json()["detail"]) == (503, likeness.BUSY)
        cursor.execute("SET LOCAL statement_timeout = 0")
    assert not Image.objects.exists()
    assert files() == set()
    upload = Upload.objects.get()
    assert (upload.state, upload.attempts) == (UploadState.ARRIVING, 0)
    again = patch(ann, f"/api/v1/uploads/{upload.uuid}", len(SAME), b"")
    assert again["Upload-State"] == "new"


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


def chosen(client, session):
    page = client.get(session.get_absolute_url()).text
    (value,) = re.findall(r'<option value="([a-z-]+)" selected>is (?:not )?stored', page)
    return value


@pytest.mark.parametrize("wanted", ["note", "refuse-near"])
def test_the_page_of_a_session_keeps_to_what_was_chosen(ann, held, wanted):
    ann.post(SESSIONS, {}, content_type="application/json")
    session = UploadSession.objects.get()
    assert chosen(ann, session) == "refuse-near"
    sent(ann, OTHER, filename="other.png", session=session.uuid, duplicates=wanted)
    assert chosen(ann, session) == wanted
    # "Store it" is said of one file.
    sent(ann, SAME, filename="same.bmp", session=session.uuid, duplicates="note")
    assert chosen(ann, session) == wanted


def test_the_page_keeps_to_what_was_chosen_without_a_script(ann):
    files = [SimpleUploadedFile("other.png", OTHER)]
    ann.post("/upload", {"images": files, **FIELDS, "duplicates": "refuse-near"})
    assert chosen(ann, UploadSession.objects.get()) == "refuse-near"


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
