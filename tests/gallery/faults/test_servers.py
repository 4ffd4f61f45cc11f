"""Postgres and Redis are killed while images come in, and come back."""

from __future__ import annotations

import time
import urllib.error
import urllib.request

import pytest
import redis

from tests.gallery.faults.site import Site, make_pictures
from tests.gallery.uploads import picture

pytestmark = pytest.mark.slow

AWAY_SECONDS = 20
PICTURES = 150


def is_in_the_middle(site: Site) -> bool:
    """Whether images have come in; that more are to come is asserted after the kill."""
    return site.count("gallery_image") > 10


def send(url: str, token: str, seed: int) -> int:
    """POST an image and return the status of the answer."""
    head = '--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
    body = head.encode() + picture(seed) + b"\r\n--x--\r\n"
    headers = {
        "Authorization": f"Bearer {token}",
        "Content-Type": "multipart/form-data; boundary=x",
    }
    request = urllib.request.Request(f"{url}/api/v1/images", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_postgres_is_killed_in_the_middle_of_a_write_and_comes_back_after_twenty_seconds(
    site: Site, tmp_path
):
    folder = make_pictures(tmp_path / "pictures", PICTURES)
    site.worker()
    site.beat()
    url = site.web()
    token = site.token
    command = site.command("import_images", "folder", folder, "--no-wait")
    site.wait_until(lambda: is_in_the_middle(site))
    site.kill(site.postgres)
    away = time.monotonic()
    assert command.poll() is None, command.communicate()
    assert send(url, token, seed=1) >= 500
    left = AWAY_SECONDS - (time.monotonic() - away)
    assert left > 0  # it does not hang, either
    time.sleep(left)
    site.start(site.postgres)

    out, err = command.communicate(timeout=240)
    assert command.returncode == 1, err
    assert f"{PICTURES} new, 0 already there, 1 failed." in out
    assert send(url, token, seed=1) == 201
    site.wait_until(lambda: site.is_embedded(PICTURES + 1))
    # Files of images whose transaction broke off: one for each thread of the import, three each.
    site.assert_whole(PICTURES + 1, failed=1, orphans=30)


@pytest.mark.parametrize("fault", ["flushed", "killed"])
def test_redis_loses_all_in_the_middle_of_an_import(site: Site, tmp_path, fault):
    folder = make_pictures(tmp_path / "pictures", PICTURES)
    worker = site.worker()
    beat = site.beat()
    site.start_unattended_import(folder)
    site.wait_until(lambda: is_in_the_middle(site))
    assert site.count("gallery_image") < PICTURES
    if fault == "flushed":
        with redis.Redis.from_url(site.redis.url) as client:
            client.flushall()
    else:
        site.kill(site.redis)
        time.sleep(3)
        assert not site.is_embedded(PICTURES)
        site.start(site.redis)
    site.wait_until(lambda: site.is_embedded(PICTURES))
    assert (worker.poll(), beat.poll()) == (None, None)
    site.assert_whole(PICTURES, failed=1)


def test_images_that_wait_outlive_a_redis_that_comes_back_empty(site: Site, tmp_path):
    """Nobody has begun with them: what told the workers of them is lost."""
    folder = make_pictures(tmp_path / "pictures", 20)
    command = site.command("import_images", "folder", folder, "--no-wait")
    command.communicate(timeout=240)
    assert site.count("gallery_imageembeddingjob") == 20
    site.kill(site.redis)
    worker = site.worker()  # it begins without Redis, and waits for it
    beat = site.beat()
    time.sleep(3)
    site.start(site.redis)
    site.wait_until(lambda: site.is_embedded(20))
    assert (worker.poll(), beat.poll()) == (None, None)
    site.assert_whole(20, failed=1)
