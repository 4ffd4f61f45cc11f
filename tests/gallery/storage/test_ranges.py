from __future__ import annotations

import urllib.request
from uuid import uuid4

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage

from gallery.storage import ranges
from gallery.storage.clients import BucketUnavailable
from gallery.storage.ranges import read_range
from tests.gallery.storage import servers
from tests.gallery.videos import drawing

CONTENT = bytes(range(256)) * 1000


@pytest.fixture(params=["folder", "moto", "rclone"])
def storage(request, tmp_path):
    if request.param == "folder":
        return FileSystemStorage(tmp_path)
    endpoint = request.getfixturevalue(request.param)
    return servers.made(servers.address(endpoint, f"b{uuid4().hex}"))


def test_a_part_of_a_file_is_read_and_no_more(storage):
    storage.save("videos/film.mp4", ContentFile(CONTENT))
    for first, last in ((0, 0), (1000, 1999), (100, len(CONTENT) - 1)):
        pieces = list(read_range(storage, "videos/film.mp4", first, last))
        assert b"".join(pieces) == CONTENT[first : last + 1]
        assert max(map(len, pieces)) <= ranges.PIECE_BYTES


def test_a_file_that_is_gone_is_told_at_once(storage):
    with pytest.raises(FileNotFoundError):
        read_range(storage, "videos/gone.mp4", 0, 9)


def test_a_server_that_gives_it_all_is_not_believed_to_have_given_a_part(moto):
    bucket = servers.made(servers.address(moto, f"b{uuid4().hex}"))
    bucket.save("videos/film.mp4", ContentFile(CONTENT))
    bucket.client.meta.events.register(
        "before-send.s3.GetObject", lambda request, **_: request.headers.pop("Range") and None
    )
    assert b"".join(read_range(bucket, "videos/film.mp4", 0, 99)) == CONTENT[:100]
    with pytest.raises(BucketUnavailable, match="another part"):
        read_range(bucket, "videos/film.mp4", 100, 199)


def test_what_breaks_off_is_raised_and_not_taken_for_the_end(shaky, proxy):
    shaky.save("videos/film.mp4", ContentFile(CONTENT))
    proxy.cut_after = 100_000
    proxy.fail("cut_answer")
    with pytest.raises(BucketUnavailable):
        list(read_range(shaky, "videos/film.mp4", 0, len(CONTENT) - 1))


def test_who_does_not_want_it_all_closes_it(storage):
    storage.save("videos/film.mp4", ContentFile(CONTENT))
    pieces = read_range(storage, "videos/film.mp4", 0, len(CONTENT) - 1)
    next(iter(pieces))
    pieces.close()


@pytest.mark.django_db
def test_a_video_in_a_bucket_is_sent_by_it_or_in_parts_by_us(moto, use, client, settings):
    use(servers.made(servers.address(moto, f"b{uuid4().hex}")))
    film = drawing.video(seconds=1)
    address = f"/videos/{drawing.stored(film).uuid}/file"
    link = client.get(address)
    assert link.status_code == 302
    request = urllib.request.Request(link.url, headers={"Range": "bytes=10-19"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert (answer.status, answer.read()) == (206, film[10:20])
        assert answer.headers["Content-Type"] == "video/webm"
    settings.STORAGE_URL_SECONDS = 0
    part = client.get(address, headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.getvalue()) == (206, film[10:20])
