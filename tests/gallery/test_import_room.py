"""What is sent for imports fills neither the disk nor more than a user's share."""

from __future__ import annotations

import io
import shutil

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from gallery.errors import StorageUnavailable
from gallery.imports import sent
from gallery.imports.errors import TooMuchSent
from gallery.models import ImportRun
from gallery.uploads import receiving
from gallery.uploads.descriptions import NewUpload
from tests.gallery.uploads import as_user
from tests.rows import make_user

pytestmark = pytest.mark.django_db

CONTENT = b"http://a.example/1.png\n" * 3


def keep(content: bytes = CONTENT, owner: str = "ann") -> sent.Sent:
    return sent.keep(io.BytesIO(content), "list.txt", make_user(owner))


def file() -> SimpleUploadedFile:
    return SimpleUploadedFile("list.txt", CONTENT)


def kept(settings) -> int:
    return len(list(settings.IMPORT_DIR.iterdir()))


def test_one_user_has_his_share_and_no_more(settings):
    settings.IMPORT_KEPT_BYTES = 2 * len(CONTENT)
    first = keep()
    keep()
    with pytest.raises(TooMuchSent, match="What you have sent would have"):
        keep()
    assert kept(settings) == 2
    keep(owner="bob")
    sent.remove(first.folder)
    keep()


def test_what_is_just_being_sent_counts(settings):
    settings.IMPORT_KEPT_BYTES = len(CONTENT) + 1
    refused = []

    class Meanwhile(io.BytesIO):
        def read(self, size=-1):
            piece = super().read(size)
            if piece:
                with pytest.raises(TooMuchSent):
                    keep()
                refused.append(piece)
            return piece

    sent.keep(Meanwhile(CONTENT), "list.txt", make_user())
    assert refused == [CONTENT]
    assert kept(settings) == 1


def test_nothing_is_kept_on_a_disk_that_is_nearly_full(settings):
    settings.UPLOAD_FREE_BYTES = 2**62
    with pytest.raises(StorageUnavailable, match="nearly full"):
        keep()
    assert kept(settings) == 0


def test_a_disk_that_others_fill_meanwhile_ends_the_copy(settings):
    class Meanwhile(io.BytesIO):
        def read(self, size=-1):
            settings.UPLOAD_FREE_BYTES = 2**62
            return super().read(size)

    with pytest.raises(StorageUnavailable, match="nearly full"):
        sent.keep(Meanwhile(CONTENT), "list.txt", make_user())
    assert kept(settings) == 0


def test_what_begun_uploads_need_is_left_to_them(settings, tmp_path):
    free = shutil.disk_usage(tmp_path).free
    settings.MAX_IMAGE_BYTES = settings.UPLOAD_UNFINISHED_BYTES = free
    settings.UPLOAD_FREE_BYTES = 0
    begun = receiving.begin(make_user(), NewUpload(size=free * 6 // 10))
    settings.UPLOAD_FREE_BYTES = free * 6 // 10
    with pytest.raises(StorageUnavailable, match="nearly full"):
        keep()
    receiving.cancel(begun)
    keep()


def test_the_api_and_the_page_say_so(settings, client):
    settings.IMPORT_KEPT_BYTES = 10
    answer = as_user().post("/api/v1/imports/file", {"file": file()})
    assert answer.status_code == 429
    assert "What you have sent" in answer.json()["detail"]
    client.force_login(make_user())
    page = client.post("/imports", {"file": file(), "visibility": "private"})
    assert page.status_code == 400
    assert "What you have sent" in page.text
    assert not ImportRun.objects.exists()
