from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from datetime import timedelta
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.utils import timezone

from gallery import link_checks
from gallery.downloads.errors import HostLeftAlone
from gallery.models import Image, LinkState, SourceLink
from gallery.query.filters import apply
from gallery.query.language import parse
from tests.rows import make_images, make_user
from tests.workers import wait_until

ROOT = Path(__file__).resolve().parents[3]
GONE = "The server answers 404: the file is gone, or never was there."


@pytest.fixture
def web(serve, settings):
    """A server on which every path answers with the number it begins with."""
    settings.DOWNLOAD_PRIVATE_ADDRESSES = True
    settings.DOWNLOAD_HOST_INTERVAL_SECONDS = 0.0
    settings.DOWNLOAD_ATTEMPTS = 1

    def answering(asked):
        if asked.path.startswith("/flickr"):
            asked.answer(302, Location="/pw/images/en-us/photo_unavailable.png")
        elif asked.path.startswith("/get-only") and asked.method == "HEAD":
            asked.answer(405)
        elif asked.path.startswith("/empty"):
            asked.answer(200 if asked.method == "HEAD" else 416)
        elif asked.path.startswith("/moved"):
            asked.answer(301, Location="/200")
        else:
            status = int(asked.path[1:4]) if asked.path[1:4].isdecimal() else 200
            asked.answer(206 if "range" in asked.headers and status == 200 else status, b"x" * 1024)

    return serve(answering)


def images_at(*urls: str, **fields) -> list[Image]:
    made = [make_images(1, source_url=url, **fields)[0] for url in urls]
    return [Image.objects.get(pk=pk) for pk in made]


def run(**options) -> str:
    out = StringIO()
    call_command("check_links", stdout=out, stderr=out, **options)
    return out.getvalue()


def states() -> list[str]:
    return list(SourceLink.objects.order_by("pk").values_list("state", flat=True))


@pytest.mark.django_db
def test_links_are_marked_with_what_was_found(web):
    paths = ["200", "moved", "get-only", "empty", "404", "410", "flickr", "503", "403"]
    images = images_at(*(f"{web.url}/{path}" for path in paths), "")
    before = timezone.now()
    assert "4 work, 4 are broken, 1 were not reached." in run()
    assert states() == [
        *["ok"] * 4, "broken", "broken", "broken", "unreachable", "broken",
    ]  # fmt: skip
    gone = images[4].source_link
    assert (gone.url, gone.reason) == (f"{web.url}/404", GONE)
    assert before <= gone.checked_at <= timezone.now()
    assert images[6].source_link.reason == "The server shows a placeholder: the image is gone."
    assert not SourceLink.objects.filter(image=images[9]).exists()


@pytest.mark.django_db
def test_little_is_asked_for(web):
    images_at(f"{web.url}/200", f"{web.url}/get-only")
    run()
    asked = sorted((one.path, one.method, one.headers.get("range")) for one in web.asked)
    assert asked == [
        ("/200", "HEAD", None),
        ("/get-only", "GET", "bytes=0-1023"),
        ("/get-only", "HEAD", None),
    ]


@pytest.mark.django_db
def test_what_was_looked_at_lately_is_not_looked_at_again(web):
    old, fresh = images_at(f"{web.url}/200/old", f"{web.url}/404/fresh")
    run()
    SourceLink.objects.filter(image=old).update(checked_at=timezone.now() - timedelta(days=8))
    web.asked.clear()
    run(older_than=30)
    assert web.paths == []
    run(older_than=7)
    assert web.paths == ["/200/old"]
    web.asked.clear()
    Image.objects.filter(pk=fresh.pk).update(source_url=f"{web.url}/200/new")
    run()
    assert web.paths == ["/200/new"]
    assert states() == ["ok", "ok"]


@pytest.mark.django_db
def test_what_was_not_reached_is_looked_at_again_after_a_day(web):
    images_at(f"{web.url}/200")
    run()
    link = SourceLink.objects.all()
    link.update(state=LinkState.UNREACHABLE, checked_at=timezone.now() - timedelta(hours=23))
    web.asked.clear()
    run()
    assert web.paths == []
    link.update(checked_at=timezone.now() - timedelta(hours=25))
    run()
    assert web.paths == ["/200"]
    assert states() == ["ok"]


@pytest.mark.django_db
def test_a_host_that_was_left_alone_is_asked_by_the_next_run(web, monkeypatch):
    images_at(f"{web.url}/200")

    def left_alone(url):
        raise HostLeftAlone("It is left alone for a while.", may_pass=True)

    with monkeypatch.context() as busy:
        busy.setattr(link_checks.downloads, "check", left_alone)
        assert "0 work, 0 are broken, 1 were not reached." in run()
    assert not SourceLink.objects.exists()
    assert "1 work, 0 are broken, 0 were not reached." in run()


@pytest.mark.django_db
def test_a_limit_is_gone_on_from(web):
    images_at(*(f"{web.url}/200/{n}" for n in range(25)))
    for _ in range(3):
        run(limit=10)
    assert sorted(web.paths) == sorted(f"/200/{n}" for n in range(25))


@pytest.mark.django_db
def test_json_names_what_does_not_work(web):
    _, broken = images_at(f"{web.url}/200", f"{web.url}/404")
    out = StringIO()
    call_command("check_links", "--json", stdout=out, stderr=StringIO())
    (line,) = out.getvalue().splitlines()
    found = json.loads(line)
    assert found.pop("at").startswith(str(timezone.now().year))
    assert found == {
        "image": str(broken.uuid), "url": broken.source_url, "state": "broken", "reason": GONE,
    }  # fmt: skip


@pytest.mark.django_db
@pytest.mark.parametrize("options", [{"limit": 0}, {"older_than": -1}, {"older_than": 1e300}])
def test_wrong_options_are_a_sentence(options):
    with pytest.raises(CommandError, match=r"must be .*\."):
        run(**options)


@pytest.mark.django_db
def test_an_address_that_must_not_be_asked_is_a_broken_link(web, settings):
    settings.DOWNLOAD_PRIVATE_ADDRESSES = False
    images_at(f"{web.url}/200", "http://169.254.169.254/", "ftp://example.org/a.jpg")
    run()
    assert states() == ["broken"] * 3
    assert web.connections == 0


@pytest.mark.django_db(transaction=True)
def test_an_image_that_is_deleted_meanwhile_does_not_stop_the_others(web):
    kept, deleted = images_at(f"{web.url}/200/kept", f"{web.url}/200/deleted")
    answering = web.answering

    def delete_first(asked):
        if asked.path.endswith("deleted"):
            Image.objects.filter(pk=deleted.pk).delete()
            connection.close()  # this thread's own
        answering(asked)

    web.answering = delete_first
    assert "1 work, 0 are broken, 0 were not reached." in run()
    assert list(SourceLink.objects.values_list("image", flat=True)) == [kept.pk]


@pytest.mark.django_db
def test_whoever_stops_keeps_what_was_found(web):
    images_at(*(f"{web.url}/200/{n}" for n in range(120)))
    images = link_checks.due(checked_before=timezone.now())
    with closing(link_checks.check_all(images)) as checked:
        next(checked)
    kept = SourceLink.objects.count()
    assert kept >= link_checks.WRITTEN_AT_ONCE
    SourceLink.objects.update(checked_at=timezone.now() + timedelta(days=1))
    assert len(list(link_checks.check_all(images))) == 120 - kept


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_a_killed_command_goes_on_where_it_was(web):
    images_at(*(f"{web.url}/200/{n}" for n in range(300)))
    answering = web.answering

    def slowly(asked):
        time.sleep(0.05)
        answering(asked)

    web.answering = slowly
    database = f"{os.environ['DATABASE_URL'].rsplit('/', 1)[0]}/{connection.settings_dict['NAME']}"
    command = subprocess.Popen(
        [sys.executable, "manage.py", "check_links"],
        cwd=ROOT,
        env=os.environ | {"DATABASE_URL": database, "DOWNLOAD_PRIVATE_ADDRESSES": "true"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_until(lambda: SourceLink.objects.count() >= 50)
    command.send_signal(signal.SIGKILL)
    command.wait()
    kept = set(SourceLink.objects.values_list("image__source_url", flat=True))
    assert 50 <= len(kept) < 300
    web.asked.clear()
    assert f"{300 - len(kept)} work, 0 are broken" in run()
    assert not kept & {f"{web.url}{path}" for path in web.paths}
    assert SourceLink.objects.filter(state=LinkState.OK).count() == 300


@pytest.mark.django_db
def test_the_page_and_the_admin_mark_a_broken_link():
    works, broken, changed = images_at(*(f"https://example.org/{n}" for n in range(3)))
    for image, state in ((works, "ok"), (broken, "broken"), (changed, "broken")):
        SourceLink.objects.create(
            image=image, url=image.source_url, state=state, reason=GONE, checked_at=timezone.now()
        )
    Image.objects.filter(pk=changed.pk).update(source_url="https://example.org/new")
    client = Client()
    client.force_login(make_user("root", is_staff=True, is_superuser=True))
    for image, is_marked in ((works, False), (broken, True), (changed, False)):
        page = client.get(image.get_absolute_url()).text
        assert ("This link is broken." in page) is is_marked
        assert (GONE in page) is is_marked
    table = client.get("/admin/gallery/image/").text
    assert table.count("source link broken") == 1
    only = client.get("/admin/gallery/image/?link=broken").text
    assert [str(image.uuid) in only for image in (works, broken, changed)] == [False, True, False]
    form = client.get(f"/admin/gallery/image/{broken.pk}/change/").text
    assert f"Broken. {GONE} Looked at" in form
    form = client.get(f"/admin/gallery/image/{changed.pk}/change/").text
    assert "Not looked at yet" in form


@pytest.mark.django_db
def test_broken_links_are_found_by_the_filter():
    images = images_at(*(f"https://example.org/{n}" for n in range(2)))
    for image, state in zip(images, ("ok", "broken"), strict=True):
        SourceLink.objects.create(
            image=image, url=image.source_url, state=state, checked_at=timezone.now()
        )
    assert list(apply(parse("link:broken"), Image.objects.all())) == [images[1]]
