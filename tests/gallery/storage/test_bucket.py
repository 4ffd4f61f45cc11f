from __future__ import annotations

import hashlib
import io
import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from django.core.exceptions import SuspiciousOperation
from django.core.files.base import ContentFile, File
from django.core.management import CommandError, call_command

from gallery.errors import StorageUnavailable
from gallery.ingest import NewImage, add_image
from gallery.models import Image
from gallery.storage import listings
from gallery.storage.bucket import BucketStorage
from gallery.storage.clients import BucketUnavailable
from gallery.storage.listings import stored_files
from tests.gallery.storage import servers
from tests.gallery.uploads import picture
from tests.rows import make_user

NAME = "images/ab/one.png"


def names(bucket):
    pages = bucket.client.get_paginator("list_objects_v2").paginate(Bucket=bucket.bucket_name)
    return [entry["Key"] for page in pages for entry in page.get("Contents", ())]


def new_image(**given):
    return NewImage(file=io.BytesIO(picture()), owner=make_user(), **given)


def test_a_file_comes_back_as_it_was_stored(bucket):
    assert bucket.save(NAME, ContentFile(b"bytes")) == NAME
    assert names(bucket) == [f"library/{NAME}"]
    assert bucket.exists(NAME)
    assert bucket.size(NAME) == 5
    with bucket.open(NAME) as file:
        assert file.read() == b"bytes"
        file.seek(1)
        assert file.read(2) == b"yt"


def test_a_large_file_is_sent_and_fetched_in_parts(bucket, moto):
    content = os.urandom(40 * 2**20 + 7)
    bucket.save(NAME, File(io.BytesIO(content)))
    if bucket.address.endpoint == moto:  # the other hides it
        kept = bucket.client.head_object(Bucket=bucket.bucket_name, Key=f"library/{NAME}")
        assert kept["ETag"].endswith('-3"')
    with bucket.open(NAME) as file:
        assert hashlib.file_digest(file, "sha256").digest() == hashlib.sha256(content).digest()


@pytest.mark.parametrize("size", [0, 5, 2 * 2**20])
def test_a_small_file_is_sent_at_once_without_asking_whether_it_may(bucket, size):
    sent = []
    bucket.client.meta.events.register(
        "before-send.s3.*", lambda request, **_: sent.append(request)
    )
    file = io.BytesIO(bytes(size))
    file.seek(size)
    bucket.save(NAME, File(file))
    (put,) = [request for request in sent if request.method == "PUT"]
    assert "Expect" not in put.headers
    assert put.headers["Content-Disposition"] == b"attachment"
    assert bucket.size(NAME) == size


def test_the_time_to_connect_does_not_bound_the_sending_of_a_file(bucket):
    patient = BucketStorage(address=replace(bucket.address, timeout=120))
    assert patient.client.meta.config.connect_timeout == 120


def test_many_threads_use_one_storage(bucket):
    def there_and_back(n):
        bucket.save(f"images/{n}", ContentFile(b"%d" % n))
        with bucket.open(f"images/{n}") as file:
            return file.read() == b"%d" % n

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(there_and_back, range(40)))


def test_what_is_not_there_is_said_as_of_a_folder(bucket):
    assert not bucket.exists(NAME)
    with pytest.raises(FileNotFoundError):
        bucket.open(NAME)
    with pytest.raises(FileNotFoundError):
        bucket.size(NAME)
    bucket.delete(NAME)


def test_no_name_leads_out_of_the_prefix(bucket):
    for name in ("../other/a.png", "a/../../other.png"):
        with pytest.raises(SuspiciousOperation):
            bucket.exists(name)


def test_a_deleted_file_is_gone(bucket):
    bucket.save(NAME, ContentFile(b"x"))
    bucket.delete(NAME)
    assert names(bucket) == []


def test_files_are_listed_in_order_over_many_pages(bucket, db, monkeypatch):
    monkeypatch.setattr(listings, "KEYS_A_PAGE", 7)
    wanted = sorted(
        [f"images/{n % 7:02x}/{n}.png" for n in range(40)] + ["images/0-a.png", "thumbnails/x"]
    )
    for name in [*wanted, "other/a.png"]:
        bucket.save(name, ContentFile(b"x"))
    assert [file.name for file in stored_files(bucket)] == wanted


def test_a_bucket_that_is_not_there_and_keys_that_are_wrong_are_told_as_such(
    moto, rclone, monkeypatch
):
    with pytest.raises(BucketUnavailable, match="no such bucket") as raised:
        servers.opened(servers.address(moto, "nobodys")).save(NAME, ContentFile(b"x"))
    assert raised.value.is_settled
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(BucketUnavailable, match="the secret key is wrong") as raised:
        servers.opened(servers.address(rclone, "any")).save(NAME, ContentFile(b"x"))
    assert raised.value.is_settled


def test_without_keys_nothing_is_asked(rclone, monkeypatch):
    for name in servers.KEYS:
        monkeypatch.delenv(name)
    with pytest.raises(BucketUnavailable, match="there are no keys"):
        servers.opened(servers.address(rclone, "any")).save(NAME, ContentFile(b"x"))


def test_an_image_is_stored_in_the_bucket_and_leaves_it(bucket, use, db, client):
    use(bucket)
    image = add_image(new_image()).image
    assert sorted(names(bucket)) == sorted(
        f"library/{field.name}"
        for field in (image.file, image.thumbnail_large, image.thumbnail_small)
    )
    with image.file.open() as file:
        assert file.read() == picture()


FAULTS = ["busy", "silent", "cut_request"]


@pytest.mark.slow
@pytest.mark.parametrize("fault", [*FAULTS, "cut_answer"])
def test_a_fault_that_passes_is_never_seen(shaky, proxy, fault):
    proxy.cut_after = 10
    proxy.fail(fault, times=1)
    shaky.save(NAME, ContentFile(b"x" * 500_000))
    proxy.fail(fault, times=1)
    with shaky.open(NAME) as file:
        assert file.read() == b"x" * 500_000
    assert proxy.connections >= 2


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_stays_is_a_sentence_in_bounded_time(shaky, proxy, fault):
    proxy.fail(fault)
    start = time.monotonic()
    with pytest.raises(BucketUnavailable, match=r"^the bucket (did not|cannot be reached to) take"):
        shaky.save(NAME, ContentFile(b"x" * 500_000))
    assert time.monotonic() - start < 60
    proxy.fail("")
    assert names(shaky) == []


@pytest.mark.slow
def test_a_download_that_breaks_off_halfway_is_never_taken_for_the_whole(shaky, proxy):
    shaky.save(NAME, ContentFile(b"x" * 500_000))
    proxy.fail("cut_answer")
    with pytest.raises(BucketUnavailable):
        shaky.open(NAME)
    proxy.fail("cut_answer", times=1)
    with shaky.open(NAME) as file:
        assert file.read() == b"x" * 500_000


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_an_image_whose_bucket_fails_leaves_nothing_and_comes_in_later(
    shaky, proxy, use, db, fault
):
    use(shaky)
    proxy.cut_after = 100
    proxy.fail(fault)
    with pytest.raises(StorageUnavailable, match=r"^The files cannot be stored: the bucket"):
        add_image(new_image())
    assert not Image.objects.exists()
    proxy.fail("")
    assert names(shaky) == []
    assert add_image(new_image()).is_new
    assert len(names(shaky)) == 3


@pytest.mark.slow
def test_a_large_upload_that_breaks_off_between_its_parts_leaves_no_file(shaky, proxy):
    content = io.BytesIO(os.urandom(40 * 2**20))
    proxy.cut_after = 4 * 2**20
    proxy.fail("cut_request")
    with pytest.raises(BucketUnavailable):
        shaky.save(NAME, File(content))
    proxy.fail("")
    assert names(shaky) == []
    shaky.save(NAME, File(content))
    assert shaky.size(NAME) == 40 * 2**20


@pytest.mark.slow
def test_no_key_is_in_an_error_or_in_the_log(shaky, proxy, caplog, settings):
    caplog.set_level(logging.INFO)
    proxy.fail("busy")
    with pytest.raises(BucketUnavailable) as raised:
        shaky.save(NAME, ContentFile(b"x"))
    told, error = caplog.text, raised.value
    while error is not None:
        told += f"{error!r} {error}"
        error = error.__cause__ or error.__context__
    for secret in servers.KEYS.values():
        assert secret not in told.replace("semblance.", "")


@pytest.mark.slow
def test_a_bucket_that_will_never_open_stops_the_start_and_one_that_is_away_does_not(
    moto, rclone, shaky, proxy, use, db, monkeypatch, capsys
):
    proxy.fail("busy")
    use(shaky)
    call_command("prepare")
    assert "Try again later." in capsys.readouterr().err
    use(servers.opened(servers.address(moto, "nobodys-bucket")))
    with pytest.raises(CommandError, match=r"^There is no bucket nobodys-bucket\."):
        call_command("prepare")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    use(servers.opened(servers.address(rclone, "any")))
    with pytest.raises(CommandError, match="Look at the keys and at STORAGE_URL"):
        call_command("prepare")
