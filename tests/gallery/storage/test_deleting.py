from __future__ import annotations

import pytest
from django.core.files.base import ContentFile

from gallery.models import Image
from gallery.removal import delete_images
from gallery.storage import deleting
from gallery.storage.deleting import delete_files
from tests.gallery.storage import servers
from tests.gallery.storage.test_bucket import names
from tests.gallery.uploads import stored


@pytest.fixture
def requests_of():
    """Return a function that gives the methods of the requests which a bucket is sent from now."""

    def listen(bucket) -> list[str]:
        sent: list[str] = []
        bucket.client.meta.events.register(
            "before-send.s3.*", lambda request, **_: sent.append(request.method)
        )
        return sent

    return listen


def filled(bucket, n):
    made = [f"images/ab/{number}.png" for number in range(n)]
    for name in made:
        bucket.save(name, ContentFile(b"x"))
    return made


def test_many_files_go_by_few_requests(bucket, requests_of, monkeypatch):
    monkeypatch.setattr(deleting, "AT_ONCE", 5)
    made = filled(bucket, 12)
    sent = requests_of(bucket)
    assert delete_files(bucket, [*made[:11], "images/ab/none.png"]) == []
    assert sent == ["POST"] * 3
    assert names(bucket) == [f"library/{made[11]}"]


@pytest.mark.django_db(transaction=True)
def test_images_are_removed_from_a_bucket_by_one_request(bucket, use, requests_of):
    use(bucket)
    for seed in range(5):
        stored(seed)
    assert len(names(bucket)) == 15
    from django.core.files.storage import default_storage

    sent = requests_of(default_storage)
    delete_images(Image.objects.all())
    assert names(bucket) == []
    assert sent == ["POST"]


@pytest.mark.parametrize(
    "answer", [b"501 Not Implemented", b"405 Method Not Allowed", b"404 Not Found"]
)
def test_a_server_that_does_not_know_the_request_is_asked_for_each(shaky, proxy, answer):
    made = filled(shaky, 4)
    proxy.refuses_post = answer
    proxy.fail("no_post")
    assert delete_files(shaky, made) == []
    proxy.fail("")
    assert names(shaky) == []


def test_a_bucket_that_is_away_is_asked_once_and_not_for_each(shaky, proxy):
    made = filled(shaky, 8)
    proxy.fail("busy")
    assert delete_files(shaky, made) == made
    assert proxy.connections <= 4
    proxy.fail("")
    assert len(names(shaky)) == 8


def test_what_may_not_be_deleted_is_named(moto, monkeypatch, tmp_path):
    bucket = servers.made(servers.address(moto, "deleting-rights"))
    made = filled(bucket, 3)
    monkeypatch.setattr(
        bucket.client,
        "delete_objects",
        lambda **_: {"Errors": [{"Key": f"library/{made[1]}", "Code": "AccessDenied"}]},
    )
    assert delete_files(bucket, made) == [made[1]]


@pytest.mark.parametrize(
    ("error", "resisted"),
    [
        ({"Key": "another%2Fname", "Code": "InternalError"}, 3),
        ({"Code": "InternalError"}, 3),
        ({"Key": "another", "Code": "NoSuchKey"}, 0),
    ],
)
def test_what_a_server_says_of_names_that_nobody_asked_for(moto, monkeypatch, error, resisted):
    bucket = servers.opened(servers.address(moto, "deleting-odd"))
    asked = [f"images/ab/{number}.png" for number in range(3)]
    monkeypatch.setattr(bucket.client, "delete_objects", lambda **_: {"Errors": [error]})
    assert len(delete_files(bucket, asked)) == resisted
