"""Lists that lie at an address."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pyarrow
import pytest
from pyarrow import parquet

from gallery.importers import SourceUnreadable
from gallery.importers.tables import Table
from gallery.importers.urls import Urls
from tests.gallery.importers.listing import keys


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def site(tmp_path, settings) -> Iterator[str]:
    """Serve the test's folder, and allow that this machine is asked."""
    settings.DOWNLOAD_PRIVATE_ADDRESSES = True
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_tables_and_lists_are_fetched(site, tmp_path):
    as_parquet = io.BytesIO()
    parquet.write_table(pyarrow.table({"url": ["https://e.org/1"]}), as_parquet)
    (tmp_path / "a.parquet").write_bytes(as_parquet.getvalue())
    (tmp_path / "a.tsv").write_text("url\tcaption\nhttps://e.org/1\tA car\n")
    (tmp_path / "a.txt").write_text("https://e.org/1\n")

    for source in (
        Table(file=f"{site}/a.parquet"),
        Table(file=f"{site}/a.tsv?version=2"),
        Urls(file=f"{site}/a.txt"),
    ):
        assert keys(source) == ["https://e.org/1"]


def test_a_table_that_cannot_be_fetched_says_why(site):
    with pytest.raises(SourceUnreadable, match="cannot be fetched"):
        list(Table(file=f"{site}/missing.csv").items())


def test_a_table_that_is_too_large_is_not_fetched(site, tmp_path, settings):
    settings.DOWNLOAD_TABLE_BYTES = 1000
    (tmp_path / "a.csv").write_text("url\n" + "https://e.org/1\n" * 100)
    with pytest.raises(SourceUnreadable, match="larger than"):
        list(Table(file=f"{site}/a.csv").items())


def test_own_networks_are_not_asked_for_a_table(settings):
    settings.DOWNLOAD_PRIVATE_ADDRESSES = False
    with pytest.raises(SourceUnreadable, match="cannot be fetched"):
        list(Table(file="http://127.0.0.1:8000/a.csv").items())
