from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from gallery.storage import addresses
from gallery.storage.addresses import BucketAddress, FolderAddress
from gallery.storage.bucket import BucketStorage
from searchsite import environment

ROOT = Path(__file__).resolve().parents[3]
OWN = Path("/own")


def test_without_an_address_files_are_in_the_data_folder():
    assert addresses.parse("", default=OWN) == FolderAddress(path=OWN)


def test_a_folder_is_named_by_its_path():
    assert addresses.parse("/srv/images", default=OWN) == FolderAddress(path=Path("/srv/images"))


def test_an_address_says_all_of_a_bucket():
    text = (
        "s3://pictures/a/b/?endpoint=https://s3.example.org:9000&region=eu-central-1"
        "&addressing=virtual&public=https://files.example.org&profile=other&timeout=3&attempts=2"
    )
    assert addresses.parse(text, default=OWN) == BucketAddress(
        bucket="pictures", prefix="a/b", endpoint="https://s3.example.org:9000",
        region="eu-central-1", addressing="virtual", public="https://files.example.org",
        profile="other", timeout=3.0, attempts=2,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("images", "full path"),
        ("ftp://host/x", "a folder or begin with s3://"),
        ("s3://", "name a bucket"),
        ("s3:///prefix", "name a bucket"),
        ("s3://Pictures/", "name a bucket"),
        ("s3://key:hunter2@pictures/", "keys do not belong"),
        ("s3://pictures/a/../b", "prefix"),
        ("s3://pictures/a//b", "prefix"),
        ("s3://pictures?secret=hunter2", "unknown option"),
        ("s3://pictures?endpoint=s3.example.org", "endpoint"),
        ("s3://pictures?endpoint=https://s3.example.org/path", "endpoint"),
        ("s3://pictures?endpoint=https://hunter2@s3.example.org", "endpoint"),
        ("s3://pictures?endpoint=http://host:99999", "endpoint"),
        ("s3://pictures?public=javascript:alert(1)", "public"),
        ("s3://pictures?region=eu central", "region"),
        ("s3://pictures?addressing=both", "addressing"),
        ("s3://pictures?timeout=0", "timeout"),
        ("s3://pictures?timeout=nan", "timeout"),
        ("s3://pictures?attempts=many", "attempts"),
        ("s3://key:hunter2@pict\u2100ures", "not written as an address"),
        ("s3://[key:hunter2@pictures", "not written as an address"),
        ("s3://pictures?endpoint=https://hunter2@pict\u2100ures", "not written as an address"),
    ],
)
def test_a_wrong_address_is_a_sentence_without_what_was_written(monkeypatch, text, sentence):
    with pytest.raises(ValueError, match=sentence) as raised:
        addresses.parse(text, default=OWN)
    assert "hunter2" not in str(raised.value)
    monkeypatch.setenv("STORAGE_URL", text)
    with pytest.raises(ImproperlyConfigured, match=rf"^STORAGE_URL is wrong: .*{sentence}") as told:
        environment.read()
    assert "hunter2" not in str(told.value)


def test_a_wrong_address_stops_the_start():
    done = subprocess.run(
        [sys.executable, "-c", "import searchsite.settings"],
        cwd=ROOT, env=os.environ | {"STORAGE_URL": "s3://x?wrong=1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "STORAGE_URL is wrong: it must name a bucket" in done.stderr


@pytest.mark.parametrize(
    "value",
    [
        "cdn.example.org",
        "ftp://cdn.example.org",
        "https://",
        "/x",
        "https://key:hunter2@cdn.example.org",
        "https://cdn.example.org/#top",
        "https://cdn.example.org/a b",
        "https://cdn.example.org;script-src *",
        "https://cdn.example.org,example.com",
        "https://'none'",
        "https://[cdn",
    ],
)
def test_a_wrong_cdn_stops_the_start(monkeypatch, value):
    monkeypatch.setenv("MEDIA_CDN_URL", value)
    with pytest.raises(ImproperlyConfigured, match=r"^MEDIA_CDN_URL is wrong: it must be"):
        environment.read()


@pytest.mark.parametrize(
    "text",
    [
        "s3://pictures",
        "s3://pictures?region=eu-central-1",
        "s3://pictures?region=us-east-1",
        "s3://pictures.example.org?region=eu-central-1",
        "s3://pictures/p?endpoint=https://s3.example.org:9000",
        "s3://pictures/p?endpoint=https://s3.example.org&addressing=virtual",
        "s3://pictures/p?endpoint=http://minio:9000&public=https://files.example.org",
    ],
)
def test_pages_may_load_images_from_where_the_addresses_lead(text):
    address = addresses.parse_bucket(text)
    url = BucketStorage(address=address).url("thumbnails/a.webp")
    assert url.startswith(tuple(f"{origin}/" for origin in address.origins))


@pytest.mark.parametrize("name", ["AWS_DEFAULT_REGION", "AWS_REGION"])
def test_pages_may_load_images_from_the_region_that_the_environment_names(monkeypatch, name):
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    monkeypatch.setenv(name, "eu-central-1")
    address = addresses.parse_bucket("s3://pictures")
    url = BucketStorage(address=address).url("thumbnails/a.webp")
    assert url.startswith("https://pictures.s3.eu-central-1.amazonaws.com/")
    assert url.startswith(tuple(f"{origin}/" for origin in address.origins))


def test_no_region_of_the_environment_gets_into_the_policy_that_is_none(monkeypatch):
    monkeypatch.setenv("AWS_DEFAULT_REGION", "x; script-src *")
    assert addresses.parse_bucket("s3://pictures").origins == ("https://pictures.s3.amazonaws.com",)


def test_the_policy_of_the_pages_names_the_bucket_and_the_cdn():
    program = (
        "import searchsite.settings as s;print(*s.CONTENT_SECURITY_POLICY['DIRECTIVES']['img-src'])"
    )
    told = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=os.environ | {
            "STORAGE_URL": "s3://pictures?endpoint=https://s3.example.org",
            "MEDIA_CDN_URL": "https://cdn.example.org/site/",
        },
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert told[-2:] == ["https://s3.example.org", "https://cdn.example.org"]
