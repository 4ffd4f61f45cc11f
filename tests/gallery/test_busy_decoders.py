"""Who waits for an answer is not kept waiting for a process that decodes; a worker waits."""

from __future__ import annotations

import io
import threading

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from gallery import patience
from gallery.decoding import decoders
from gallery.ingest import NewImage, add_image
from gallery.models import Image, Upload, UploadState
from gallery.uploads import finishing
from tests.gallery.test_upload_page import FIELDS
from tests.gallery.test_upload_parts import begin
from tests.gallery.uploads import picture
from tests.rows import make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def ann(client):
    client.force_login(make_user())
    return client


@pytest.fixture
def busy(settings, monkeypatch):
    """Let the only process be another's. Return what gives it back."""
    settings.DECODE_PROCESSES = 1
    monkeypatch.setattr(patience, "DECODER_SECONDS", 0.2)
    decoders.close()
    given_back, taken = threading.Event(), threading.Event()

    def hold() -> None:
        with decoders._current.pool()._slot(None):
            taken.set()
            given_back.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    taken.wait(60)

    def give_back() -> None:
        given_back.set()
        holder.join()

    yield give_back
    give_back()
    decoders.close()


def file() -> SimpleUploadedFile:
    return SimpleUploadedFile("a.png", picture(1))


@pytest.mark.parametrize(
    ("address", "fields"),
    [
        ("/upload", lambda: {"images": file(), **FIELDS}),
        ("/api/v1/images", lambda: {"file": file()}),
        ("/api/v1/duplicates/check", lambda: {"file": file()}),
        ("/api/v1/search", lambda: {"image": file()}),
    ],
)
def test_a_request_is_told_to_come_back(ann, busy, address, fields):
    answer = ann.post(address, fields())
    assert answer.status_code == 503
    assert answer["Retry-After"] == "10"
    assert "Too many images are being looked at. Try again soon." in answer.text
    assert not Image.objects.exists()
    busy()
    assert "Too many images" not in ann.post(address, fields()).text


def test_a_part_that_was_the_last_is_finished_later(ann, busy):
    content = picture(1)
    answer = begin(ann, content, part=content, filename="a.png")
    assert (answer.status_code, answer["Retry-After"]) == (503, "10")
    upload = Upload.objects.get()
    assert (upload.state, upload.received, upload.attempts) == ("arriving", len(content), 0)
    busy()
    finishing.finish(upload)
    assert upload.state == UploadState.NEW


def test_what_nobody_waits_for_has_its_time(busy):
    threading.Timer(1, busy).start()  # five times as long as a request would wait
    add_image(NewImage(file=io.BytesIO(picture(2)), owner=make_user()))
    assert Image.objects.count() == 1
