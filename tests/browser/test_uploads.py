"""Many files and whole folders through the upload page, and what interrupts them."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
from django.conf import settings
from django.db import connection
from django.test import Client
from django.utils import timezone
from PIL import Image as PillowImage
from playwright.sync_api import Page, Route, expect

from gallery import pipeline, spaces
from gallery.models import Image, Upload, UploadSession, UploadState
from gallery.uploads import finishing
from gallery.videos import intake
from tests.gallery.duplicates.pictures import encoded, scene, stored
from tests.gallery.uploads import picture
from tests.gallery.videos import drawing
from tests.rows import make_user
from tests.workers import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.django_db(transaction=True)]

ROOT = Path(__file__).resolve().parent.parent.parent


def make_folder(folder: Path, files: int) -> Path:
    """Make a folder of small images, in two sub-folders, with what is no image beside them."""
    for name in ("Norway", "Spain"):
        folder.joinpath(name).mkdir(parents=True)
    for seed in range(files):
        name = ("Norway", "Spain")[seed % 2]
        folder.joinpath(name, f"{seed:04}.png").write_bytes(picture(seed))
    folder.joinpath("Norway", "notes.txt").write_text("no image")
    folder.joinpath(".DS_Store").write_text("no image")
    return folder


def drop(page: Page, *paths: Path) -> None:
    """Drop files and folders of the disk, as a hand does."""
    browser = page.context.new_cdp_session(page)
    files = [str(path) for path in paths]
    data = {"items": [], "files": files, "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        browser.send("Input.dispatchDragEvent", {"type": kind, "x": 300, "y": 300, "data": data})


def upload(page: Page) -> None:
    page.get_by_role("button", name="Upload", exact=True).click()


def totals(page: Page):
    return page.locator("#totals")


def rows(page: Page):
    return page.locator("#files .file")


def count_when_still(under_way: set[object]) -> int:
    """Return how many images there are when no more come: requests that were sent are finished."""
    arriving = Upload.objects.filter(state=UploadState.ARRIVING)
    before, now = -1, Image.objects.count()
    while now != before or under_way or arriving.exists():
        time.sleep(1)
        before, now = now, Image.objects.count()
    return now


def heap_of(page: Page) -> Callable[[], float]:
    """Return what tells the megabytes that a page's scripts hold."""
    browser = page.context.new_cdp_session(page)
    browser.send("Performance.enable")

    def megabytes() -> float:
        browser.send("HeapProfiler.collectGarbage")
        metrics = browser.send("Performance.getMetrics")["metrics"]
        value_by_name = {metric["name"]: float(metric["value"]) for metric in metrics}
        return value_by_name["JSHeapUsedSize"] / 1e6

    return megabytes


def test_hundreds_of_files_and_a_folder_are_sent_one_of_them_broken(logged_in: Page, tmp_path):
    """They do not grow the page, either; 5,000 were measured once: docs/uploads.md."""
    page = logged_in
    spaces.ensure()
    folder = make_folder(tmp_path / "Holidays", 300)
    folder.joinpath("Norway", "broken.png").write_bytes(picture(999)[:300])
    single = tmp_path / "single.png"
    single.write_bytes(picture(1000))
    page.goto("/upload")
    heap = heap_of(page)
    before = heap()
    drop(page, folder, single)
    expect(page.locator("#chosen")).to_contain_text("302 files")
    expect(page.locator("#chosen")).to_contain_text("1 file of the folders left aside")
    page.locator("[name=folders]").select_option("album")
    upload(page)
    expect(page.locator("#sending-title")).to_have_text("Sent, but not all")
    expect(totals(page)).to_contain_text("301 of 302 files")
    expect(totals(page)).to_contain_text("1 failed")
    # Of 302 rows those in view exist, and the broken one is the first of them.
    assert rows(page).count() < 20
    assert heap() - before < 5
    expect(rows(page).first).to_contain_text("broken.png")
    expect(rows(page).first).to_contain_text("The file is cut short or damaged.")

    by_album = {
        album: Image.objects.filter(album__name=album).count() for album in ("Norway", "Spain")
    }
    assert by_album == {"Norway": 150, "Spain": 150}
    assert Image.objects.get(original_name="single.png").album is None
    expect(page.get_by_role("heading", name="0 of 301 ready")).to_be_visible()
    pipeline.embed_waiting()
    expect(page.get_by_role("heading", name="301 images ready")).to_be_visible()
    expect(page.locator("#progress .figure")).to_have_count(60)

    # A file that was changed since it was chosen is not sent as something else.
    folder.joinpath("Norway", "broken.png").write_bytes(picture(999))
    page.get_by_role("button", name="Retry: Holidays/Norway/broken.png").click()
    expect(rows(page).first).to_contain_text("no longer read")


def test_coming_back_shows_where_it_stands_and_the_same_folder_goes_on(
    logged_in: Page, requests_end, tmp_path
):
    page = logged_in
    page.on("dialog", lambda dialog: dialog.accept())  # "Leave this page?"
    folder = make_folder(tmp_path / "Holidays", 120)
    page.goto("/upload")
    drop(page, folder)
    expect(page.locator("#chosen")).to_contain_text("120 files")
    upload(page)
    wait_until(lambda: Image.objects.count() >= 10)
    page.goto("/")
    session = UploadSession.objects.get()
    arrived = count_when_still(requests_end)
    assert arrived < 120

    page.goto("/upload")
    page.locator(".latest a").click()
    expect(page).to_have_url(re.compile(str(session.uuid)))
    expect(page.locator("#progress")).to_contain_text(f"{arrived} of 120 files stored")
    expect(page.locator("#progress")).to_contain_text(f"{120 - arrived} files have not been sent")
    drop(page, folder)
    expect(page.locator("#chosen")).to_contain_text("120 files")
    upload(page)
    expect(page.locator("#sending-title")).to_have_text("All sent")
    expect(totals(page)).to_contain_text(f"{arrived} already there")
    assert Image.objects.count() == session.uploads.count() == 120  # nothing was sent twice
    expect(page.locator("#progress")).to_contain_text("120 of 120 files stored")
    expect(page.locator("#progress")).not_to_contain_text("not been sent")


def test_a_pause_stops_and_cancelling_forgets(logged_in: Page, requests_end, tmp_path):
    page = logged_in
    folder = make_folder(tmp_path / "Holidays", 120)
    page.goto("/upload")
    page.locator("#folder").set_input_files(folder)
    upload(page)
    wait_until(lambda: Image.objects.count() >= 5)
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#sending-title")).to_have_text("Paused")
    stored = count_when_still(requests_end)
    page.wait_for_timeout(1000)
    assert Image.objects.count() == stored < 120
    page.get_by_role("button", name="Go on").click()
    wait_until(lambda: Image.objects.count() >= stored + 5)
    page.get_by_role("button", name="Cancel the rest").click()
    expect(page.locator("#sending-title")).to_have_text("All sent")
    page.wait_for_timeout(2000)
    wait_until(lambda: not Upload.objects.filter(state=UploadState.ARRIVING).exists())
    assert Image.objects.count() < 120
    expect(page.locator("#progress")).not_to_contain_text("not been sent")


def test_a_server_that_never_goes_on_is_given_up(logged_in: Page, tmp_path):
    page = logged_in
    file = tmp_path / "a.png"
    file.write_bytes(picture(1))

    def answer(route) -> None:
        headers = {"Location": "/api/v1/uploads/x", "Upload-Offset": "0"}
        route.fulfill(status=201, headers=headers)

    page.route(re.compile("/api/v1/uploads(/x)?$"), answer)
    page.goto("/upload")
    page.evaluate("PAUSES.fill(1)")
    page.locator("#images").set_input_files(file)
    upload(page)
    expect(rows(page)).to_contain_text("The server took nothing")
    expect(page.locator("#sending-title")).to_have_text("Sent, but not all")


def test_a_file_that_failed_here_is_still_told_as_not_sent(logged_in: Page, tmp_path):
    page = logged_in
    file = tmp_path / "a.png"
    file.write_bytes(picture(1))
    page.goto("/upload")
    page.locator("#images").set_input_files(file)
    file.unlink()
    upload(page)
    expect(page.locator("#sending-title")).to_have_text("Sent, but not all")
    expect(page.locator("#progress")).to_contain_text("1 file has not been sent")
    page.wait_for_timeout(3000)  # the last announcement comes when all is still
    assert UploadSession.objects.get().expected == 1


def test_go_on_is_heard_while_a_file_s_sha256_is_computed(logged_in: Page, tmp_path):
    page = logged_in
    file = tmp_path / "a.png"
    file.write_bytes(picture(1) + b"\0" * 2**20)
    page.goto("/upload")
    page.evaluate(
        """() => {
            const read = File.prototype.arrayBuffer;
            File.prototype.arrayBuffer = async function () {
                await new Promise((resolve) => { window.goOnReading = resolve; });
                return read.call(this);
            };
        }"""
    )
    page.locator("#images").set_input_files(file)
    upload(page)
    wait_until(lambda: page.evaluate("Boolean(window.goOnReading)"))
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Go on").click()
    page.evaluate("() => { const read = window.goOnReading; window.goOnReading = null; read(); }")
    wait_until(lambda: page.evaluate("Boolean(window.goOnReading)"))
    page.evaluate("window.goOnReading()")
    expect(page.locator("#sending-title")).to_have_text("All sent")


class WebServer:
    """gunicorn as bin/start runs it, on the tests' database, to be killed and started again."""

    def __init__(self, data_dir: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = data_dir / "web.log"
        url = os.environ["DATABASE_URL"]
        self._environ = os.environ | {
            "DATABASE_URL": f"{url.rsplit('/', 1)[0]}/{connection.settings_dict['NAME']}",
            "DATA_DIR": str(data_dir),
        }
        collect = [sys.executable, "manage.py", "collectstatic", "--noinput", "--verbosity=0"]
        subprocess.run(collect, cwd=ROOT, env=self._environ, check=True)
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        options = ["--worker-class=gthread", "--workers=1", "--threads=4", "--no-control-socket"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", "searchsite.wsgi", *options,
                 f"--bind=127.0.0.1:{self.port}"],
                cwd=ROOT, env=self._environ, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        wait_until(self.answers)
        return self.process

    def answers(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(self.log.read_text()[-3000:])
        try:
            return bool(urllib.request.urlopen(f"{self.url}/healthz", timeout=5).status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def web(tmp_path):
    server = WebServer(tmp_path)
    yield server
    if server.process.poll() is None:
        server.kill()


def test_a_large_file_goes_on_after_the_server_was_killed(chromium, web, tmp_path):
    client = Client()
    client.force_login(make_user())
    cookie = {
        "name": settings.SESSION_COOKIE_NAME,
        "value": client.cookies[settings.SESSION_COOKIE_NAME].value,
        "url": web.url,
    }
    pixels = np.random.default_rng(1).integers(0, 255, (3000, 3300, 3), dtype=np.uint8)
    PillowImage.fromarray(pixels).save(tmp_path / "large.bmp")
    size = tmp_path.joinpath("large.bmp").stat().st_size
    with chromium.new_context(base_url=web.url) as context:
        context.add_cookies([cookie])
        page = context.new_page()
        page.goto("/upload")
        slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 4e6}
        browser = context.new_cdp_session(page)
        browser.send("Network.enable")
        browser.send("Network.emulateNetworkConditions", slow)
        drop(page, tmp_path / "large.bmp")
        expect(page.locator("#chosen")).to_contain_text("1 file,")
        upload(page)
        wait_until(lambda: Upload.objects.filter(received__gt=11e6).exists())
        web.kill()
        here = Upload.objects.get().received
        assert 0 < here < size
        expect(rows(page)).to_contain_text("The server does not answer. Trying again.")
        time.sleep(1)
        web.start()
        browser.send("Network.emulateNetworkConditions", slow | {"uploadThroughput": -1})
        expect(page.locator("#sending-title")).to_have_text("All sent")
        expect(page.locator("#progress")).to_contain_text("1 of 1 file stored")
    finished = Upload.objects.get()  # the same one: it went on, and did not begin again
    assert finished.state == UploadState.NEW
    image = Image.objects.get()
    original = tmp_path / "media" / image.file.name
    assert original.read_bytes() == tmp_path.joinpath("large.bmp").read_bytes()
    assert list(tmp_path.joinpath("uploads").rglob("*")) == [
        *tmp_path.joinpath("uploads").glob("??")
    ]


def test_what_looks_like_an_image_there_is_stored_only_when_told_to(
    logged_in: Page, statuses, tmp_path
):
    page = logged_in
    held = stored(encoded(scene(1), "PNG"))
    names = ("a.bmp", "b.tiff", "c.jpg")
    for name, kind in zip(names, ("BMP", "TIFF", "JPEG"), strict=True):
        tmp_path.joinpath(name).write_bytes(encoded(scene(1), kind))
    tmp_path.joinpath("d.png").write_bytes(encoded(scene(2), "PNG"))
    page.goto("/upload")
    page.locator("#images").set_input_files([tmp_path / name for name in (*names, "d.png")])
    upload(page)
    title = page.locator("#sending-title")
    expect(title).to_have_text("Sent; some look like images you have")
    expect(totals(page)).to_contain_text("3 not stored: you have what they show")
    expect(page.locator(".file.alike")).to_have_count(3)
    row = page.locator(".file.alike", has_text="a.bmp")
    expect(row).to_contain_text("You have an image of the same pixels")
    like = row.get_by_role("link", name="Look at yours")
    assert like.get_attribute("href") == held.get_absolute_url()
    expect(page.locator("#progress")).to_contain_text("1 of 4 files stored; 3 not stored, because")
    assert Image.objects.count() == 2

    page.get_by_role("button", name="Store it: a.bmp").click()
    expect(page.locator(".file.alike")).to_have_count(2)
    wait_until(lambda: Image.objects.filter(original_name="a.bmp").exists())
    # Few at a time, and what was dropped is asked for again.
    statuses.add(503)
    page.evaluate("PAUSES.fill(1)")
    dropped: list[Route] = []

    def drop_once(route) -> None:
        if len(dropped) < 2:
            dropped.append(route)
            route.fulfill(status=503)
        else:
            route.fallback()

    page.route(re.compile("/api/v1/uploads$"), drop_once)
    page.get_by_role("button", name="Store all that look alike").click()
    expect(title).to_have_text("All sent")
    assert len(dropped) == 2
    expect(page.locator("#progress")).to_contain_text("4 of 4 files stored.")
    expect(page.locator("#progress")).not_to_contain_text("not been sent")
    assert Image.objects.count() == 5
    assert UploadSession.objects.get().uploads.count() == 4  # each file once


def large(folder: Path) -> Path:
    """Return a file that is sent in two parts."""
    file = folder / "large.png"
    file.write_bytes(picture(1) + b"\0" * (9 * 2**20))
    return file


def test_a_file_whose_upload_is_gone_is_sent_from_its_beginning(
    logged_in: Page, statuses, tmp_path
):
    page = logged_in
    statuses.add(410)
    page.goto("/upload")
    page.evaluate("PAUSES.fill(1)")
    gone: list[UUID] = []

    def expire_once(route) -> None:
        if not gone:
            gone.append(Upload.objects.get().uuid)
            Upload.objects.update(expires_at=timezone.now() - timedelta(hours=1))
            finishing.expire()
            connection.close()  # what Playwright calls has one of its own
        route.continue_()

    page.route(re.compile("/api/v1/uploads/[0-9a-f-]+$"), expire_once)
    page.locator("#images").set_input_files(large(tmp_path))
    upload(page)
    expect(page.locator("#sending-title")).to_have_text("All sent")
    row = Upload.objects.get()
    assert row.uuid != gone[0]
    assert row.state == UploadState.NEW


def test_a_server_that_loses_every_part_is_given_up(logged_in: Page, statuses, tmp_path):
    page = logged_in
    statuses.add(410)
    page.goto("/upload")
    page.evaluate("PAUSES.fill(1)")
    begun = []
    page.on("request", lambda one: begun.append(one) if one.url.endswith("/uploads") else None)
    lost = {"status": 410, "json": {"detail": "It is gone."}}
    page.route(re.compile("/api/v1/uploads/[0-9a-f-]+$"), lambda route: route.fulfill(**lost))
    page.locator("#images").set_input_files(large(tmp_path))
    upload(page)
    expect(rows(page)).to_contain_text("What had arrived of this file is gone.")
    expect(page.locator("#sending-title")).to_have_text("Sent, but not all")
    tries = page.evaluate("PAUSES.length")
    page.wait_for_timeout(500)
    assert len(begun) <= tries + 2


def test_a_file_that_is_refused_again_counts_once(logged_in: Page, tmp_path):
    page = logged_in
    tmp_path.joinpath("a.png").write_bytes(b"no image")
    page.goto("/upload")
    page.locator("#images").set_input_files(tmp_path / "a.png")
    upload(page)
    for _ in range(2):
        expect(page.locator("#progress")).to_contain_text("0 of 1 file stored; 1 refused.")
        with page.expect_response(re.compile("/api/v1/uploads$")) as answer:
            page.get_by_role("button", name="Retry: a.png").click()
        assert answer.value.status == 422
    assert Upload.objects.get().state == UploadState.REFUSED


def let_look_again(page: Page) -> None:
    """Let the seconds pass in the page after which it looks at a file that is there.

    Where it has not begun to wait for them yet, it does so in full.
    """
    page.wait_for_timeout(200)
    page.clock.fast_forward(5000)


def test_a_video_waits_while_the_server_is_at_another(logged_in: Page, tmp_path):
    page = logged_in
    tmp_path.joinpath("film.webm").write_bytes(drawing.video(seconds=3))
    page.clock.install()
    page.goto("/upload")
    with intake._one_video:
        page.locator("#images").set_input_files(tmp_path / "film.webm")
        upload(page)
        expect(rows(page)).to_contain_text("Sent, the server looks at it")
        with page.expect_response(re.compile("/api/v1/uploads/[0-9a-f-]+$")):
            let_look_again(page)
        expect(page.locator("#sending-title")).to_have_text("Sending")
    let_look_again(page)
    expect(page.locator("#sending-title")).to_have_text("All sent")
    assert Upload.objects.get().state == UploadState.NEW
    assert Image.objects.exclude(video=None).exists()


def test_a_file_that_is_there_waits_until_it_can_be_stored(logged_in: Page, statuses, tmp_path):
    page = logged_in
    statuses.add(503)
    settings.MEDIA_ROOT.write_text("a file where a folder should be")
    tmp_path.joinpath("a.png").write_bytes(picture(1))
    page.clock.install()
    page.goto("/upload")
    page.evaluate("PAUSES.splice(1, Infinity); PAUSES.fill(1)")
    page.locator("#images").set_input_files(tmp_path / "a.png")
    upload(page)
    for _ in range(3):  # more often than it tries where nothing of a file is there
        with page.expect_response(lambda one: one.request.method == "PATCH"):
            let_look_again(page)
        expect(rows(page)).to_contain_text("The files cannot be stored: ")
    expect(page.locator("#sending-title")).to_have_text("Sending")
    settings.MEDIA_ROOT.unlink()
    let_look_again(page)
    expect(page.locator("#sending-title")).to_have_text("All sent")
    assert Upload.objects.get().state == UploadState.NEW


def test_a_session_that_is_gone_gives_way_to_a_new_one(logged_in: Page, statuses, tmp_path):
    page = logged_in
    statuses.add(404)
    for seed in range(3):
        tmp_path.joinpath(f"{seed}.png").write_bytes(picture(seed))
    page.goto("/upload")
    page.locator("#images").set_input_files(tmp_path / "0.png")
    upload(page)
    expect(page.locator("#sending-title")).to_have_text("All sent")

    UploadSession.objects.all().delete()
    page.locator("#images").set_input_files(tmp_path / "1.png")
    upload(page)
    expect(totals(page)).to_contain_text("2 of 2 files")
    first = UploadSession.objects.get()
    assert str(first.uuid) in page.url

    # It goes between the question for it and the file.
    def forget(route) -> None:
        UploadSession.objects.filter(pk=first.pk).delete()
        connection.close()  # what Playwright calls has one of its own
        route.fulfill(json={})

    page.route(re.compile("/api/v1/upload-sessions/"), forget)
    page.locator("#images").set_input_files(tmp_path / "2.png")
    upload(page)
    expect(rows(page).first).to_contain_text("There is no such upload session")
    page.unroute_all()
    # The first renewal fails, and something else is said of the files that follow.
    page.route(re.compile("/api/v1/upload-sessions$"), lambda route: route.fulfill(status=503))
    statuses.add(503)
    page.locator("[name=caption]").fill("Of another file")
    retry = page.get_by_role("button", name="Retry: 2.png")
    retry.click()
    expect(rows(page).first).to_contain_text("Something failed on the server")
    page.unroute_all()
    retry.click()
    expect(totals(page)).to_contain_text("3 of 3 files")
    assert UploadSession.objects.get().uploads.get().state == UploadState.NEW
    assert not Image.objects.exclude(caption="").exists()
    assert Image.objects.count() == 3
