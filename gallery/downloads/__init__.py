"""Fetching files by URL, safely: `fetch(url)`. What it does and refuses is in docs/imports.md."""

from __future__ import annotations

import atexit
import os
import threading
from typing import IO

from django.conf import settings

from gallery.downloads import links
from gallery.downloads.client import Downloader
from gallery.downloads.errors import DownloadFailed, DownloadRefused
from gallery.downloads.limits import Limits, Rules, Wanted

__all__ = ["DownloadFailed", "DownloadRefused", "check", "fetch", "fetch_table", "fetch_video"]

SLOWEST = 10**6  # bytes a second of a list or video that is as large as it may be


def fetch(url: str) -> IO[bytes]:
    """Return the image file at a URL, seekable and at its start; the caller closes it.

    May be called from many threads at once: they share connections and the limits of each host.
    What comes back is whole, and no larger than MAX_IMAGE_MEGABYTES; whether it is an image is for
    who asked to find out. Raise DownloadFailed, with a sentence, when it cannot be had, and
    DownloadRefused when the address must not be asked.
    """
    wanted = Wanted(
        accept="image/*", most_bytes=settings.MAX_IMAGE_BYTES, seconds=settings.DOWNLOAD_SECONDS
    )
    return _downloader().fetch(url, wanted)


def fetch_video(url: str) -> IO[bytes]:
    """Return a video as `fetch` does; it may be larger."""
    most_bytes = settings.VIDEO_MAX_BYTES
    seconds = max(settings.DOWNLOAD_SECONDS, most_bytes / SLOWEST)
    return _downloader().fetch(
        url, Wanted(accept="video/*", most_bytes=most_bytes, seconds=seconds)
    )


def fetch_table(url: str) -> IO[bytes]:
    """Return a list of images (CSV, Parquet, ...) as `fetch` does; it may be larger."""
    most_bytes = settings.DOWNLOAD_TABLE_BYTES
    seconds = max(settings.DOWNLOAD_SECONDS, most_bytes / SLOWEST)
    return _downloader().fetch(url, Wanted(accept="*/*", most_bytes=most_bytes, seconds=seconds))


def check(url: str) -> None:
    """Return when there is something at the URL; raise DownloadFailed as `links.check` does."""
    links.check(_downloader(), url)


_of_process: dict[tuple[Rules, Limits], Downloader] = {}
_making = threading.Lock()


def _downloader() -> Downloader:
    rules = Rules(allows_private=settings.DOWNLOAD_PRIVATE_ADDRESSES, ports=settings.DOWNLOAD_PORTS)
    limits = Limits(
        attempts=settings.DOWNLOAD_ATTEMPTS,
        at_once_per_host=settings.DOWNLOAD_HOST_CONCURRENCY,
        interval_seconds=settings.DOWNLOAD_HOST_INTERVAL_SECONDS,
    )
    with _making:
        if (rules, limits) not in _of_process:
            _of_process[rules, limits] = Downloader(rules, limits)
        return _of_process[rules, limits]


def _forget() -> None:
    """A process that was forked must not speak over the connections of its parent."""
    global _making
    _making = threading.Lock()
    _of_process.clear()


def _close() -> None:
    for downloader in _of_process.values():
        downloader.close()


atexit.register(_close)
os.register_at_fork(after_in_child=_forget)
