"""`gallery.downloads` as importers use it: with the settings, from threads and after a fork."""

from __future__ import annotations

import os
from io import BytesIO

import pytest
from PIL import Image as Picture

from gallery import downloads
from gallery.downloads import DownloadFailed, DownloadRefused
from gallery.ingest import NewImage, add_image
from searchsite.setting_values import port_ranges
from tests.rows import make_user


def png() -> bytes:
    file = BytesIO()
    Picture.new("RGB", (32, 24), "red").save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def server(serve, settings):
    settings.DOWNLOAD_PRIVATE_ADDRESSES = True
    settings.DOWNLOAD_ATTEMPTS = 1
    return serve(lambda asked: asked.answer(200, png() if asked.path == "/a.png" else b"x" * 5000))


def test_without_the_setting_only_the_public_internet_is_asked(server, settings):
    settings.DOWNLOAD_PRIVATE_ADDRESSES = False
    for fetch in (downloads.fetch, downloads.fetch_table, downloads.check):
        with pytest.raises(DownloadRefused):
            fetch(server.url)
    assert server.connections == 0


def test_the_ports_are_those_of_the_setting(server, settings):
    settings.DOWNLOAD_PORTS = (range(1, server.port),)
    with pytest.raises(DownloadRefused, match=f"Port {server.port} is not asked"):
        downloads.fetch(server.url)
    settings.DOWNLOAD_PORTS = (range(server.port, server.port + 1),)
    downloads.fetch(server.url).close()


def test_an_image_is_as_large_as_images_may_be_and_a_table_as_tables_may(server, settings):
    settings.MAX_IMAGE_BYTES = 1000
    with pytest.raises(DownloadFailed, match=r"The file is larger than 1000\sbytes\."):
        downloads.fetch(server.url)
    with downloads.fetch_table(server.url) as file:
        assert len(file.read()) == 5000
    settings.DOWNLOAD_TABLE_BYTES = 1000
    with pytest.raises(DownloadFailed, match="larger than"):
        downloads.fetch_table(server.url)


@pytest.mark.django_db
def test_what_was_fetched_is_taken_in(server):
    with downloads.fetch(f"{server.url}/a.png") as file:
        added = add_image(NewImage(file=file, owner=make_user(), source_url=f"{server.url}/a.png"))
    assert added.is_new
    assert (added.image.width, added.image.height) == (32, 24)
    with added.image.file.open() as stored:
        assert stored.read() == png()


def test_connections_are_shared_between_calls_and_not_with_a_forked_process(server):
    for _ in range(3):
        downloads.fetch(server.url).close()
    assert server.connections == 1
    child = os.fork()
    if not child:
        status = 1
        try:
            downloads.fetch(server.url).close()
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    downloads.fetch(server.url).close()
    assert server.connections == 2
    assert len(server.asked) == 5


@pytest.mark.parametrize(
    ("written", "ranges"),
    [
        (("80",), (range(80, 81),)),
        (("80", "8000-8999"), (range(80, 81), range(8000, 9000))),
        ((), ()),
    ],
)
def test_ports_are_written_as_numbers_and_ranges(written, ranges):
    assert port_ranges(written) == ranges


@pytest.mark.parametrize("written", ["http", "", "-", "80-", "-80", "0", "90-80", "65536", "1-2-3"])
def test_what_is_no_port_stops_the_start(written):
    with pytest.raises(ValueError, match="ports"):
        port_ranges((written,))
