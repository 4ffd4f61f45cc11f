from __future__ import annotations

from uuid import uuid4

import pytest

from gallery.importers import ItemUnreadable, Skipped, SourceUnreadable, registry
from gallery.importers.s3 import Bucket
from gallery.storage import clients
from gallery.storage.addresses import parse_bucket
from tests.gallery.storage import servers
from tests.gallery.uploads import picture


@pytest.fixture
def source(url):
    at = parse_bucket(url)
    client = clients.connect(at)
    client.create_bucket(Bucket=at.bucket)
    for key, body in {
        "library/b/2.PNG": picture(2),
        "library/a boat.png": picture(1),
        "library/ünï.png": picture(3),
        "library/notes.txt": b"x",
        "library/.hidden/3.png": b"x",
        "library-of-another/4.png": b"x",
    }.items():
        client.put_object(Bucket=at.bucket, Key=key, Body=body)
    return Bucket(url=url)


def test_images_below_the_prefix_are_listed_and_opened(source):
    items = {item.key: item for item in source.items()}
    assert set(items) == {"b/2.PNG", "a boat.png", "ünï.png"}
    assert items["b/2.PNG"].name == "2.PNG"
    assert all(item.version for item in items.values())
    for key, seed in (("b/2.PNG", 2), ("a boat.png", 1), ("ünï.png", 3)):
        with source.open(key) as file:
            assert file.read() == picture(seed)
            file.seek(0)
            assert file.read(4) == b"\x89PNG"


def test_its_version_changes_with_the_bytes(source, url):
    at = parse_bucket(url)
    before = {item.key: item.version for item in source.items()}
    clients.connect(at).put_object(Bucket=at.bucket, Key="library/b/2.PNG", Body=picture(9))
    after = {item.key: item.version for item in source.items()}
    assert {key for key in before if before[key] != after[key]} == {"b/2.PNG"}


def test_it_is_loaded_by_its_name_and_says_what_it_reads(source, url):
    again = registry.load("s3", source.model_dump(mode="json"))
    assert again == source
    assert again.title == url.partition("?")[0]
    assert again.place == source.place != Bucket(url=url.replace("library", "other")).place


def test_an_item_that_is_gone_or_too_large_is_a_sentence(source, settings):
    with pytest.raises(ItemUnreadable, match="no longer has"):
        source.open("b/none.png")
    settings.MAX_IMAGE_BYTES = 100
    with pytest.raises(ItemUnreadable, match="larger than"):
        source.open("b/2.PNG")


def test_what_lies_in_an_archive_is_skipped_with_a_reason(moto):
    name = f"b{uuid4().hex}"
    at = parse_bucket(servers.address(moto, name, prefix=""))
    client = clients.connect(at)
    client.create_bucket(Bucket=name)
    client.put_object(Bucket=name, Key="old.png", Body=b"x", StorageClass="GLACIER")
    (skipped,) = Bucket(url=servers.address(moto, name, prefix="")).items()
    assert isinstance(skipped, Skipped)
    assert "archive" in skipped.reason


@pytest.mark.parametrize("url", ["pictures", "s3://", "s3://key:hunter2@pictures", "/pictures"])
def test_a_wrong_address_is_a_sentence(url):
    with pytest.raises(SourceUnreadable) as raised:
        registry.load("s3", {"url": url})
    assert "hunter2" not in str(raised.value)


def test_a_bucket_that_is_not_there_or_not_ours_is_a_sentence(moto, rclone, monkeypatch):
    with pytest.raises(SourceUnreadable, match="no such bucket"):
        list(Bucket(url=servers.address(moto, "nobodys-bucket")).items())
    with pytest.raises(SourceUnreadable, match="did not list its files"):
        list(Bucket(url=servers.address(rclone, "any"), anonymous=True).items())
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(SourceUnreadable, match="the secret key is wrong"):
        list(Bucket(url=servers.address(rclone, "any")).items())
