"""Whether there still is something at an address, by asking for as little of it as can be."""

from __future__ import annotations

from gallery.downloads.answers import Answer
from gallery.downloads.client import Downloader, Request
from gallery.downloads.limits import Wanted

SECONDS = 30.0
FIRST_BYTES = (("Range", "bytes=0-1023"),)

_WANTED = Wanted(accept="*/*", most_bytes=0, seconds=SECONDS)


def check(downloader: Downloader, url: str) -> None:
    """Return when something is there. Raise DownloadFailed, saying what the server answers else.

    `may_pass` tells a server that has a bad day from a link that is broken.
    """
    if not downloader.ask(Request(url=url, wanted=_WANTED, method="HEAD"), _has_head):
        downloader.ask(Request(url=url, wanted=_WANTED, headers=FIRST_BYTES), _has_bytes)


def _has_head(answer: Answer) -> bool:
    """Say whether HEAD is answered well. Many servers refuse it for what they would give."""
    answer.drain()
    if 400 <= answer.status < 500 or answer.status == 501:
        return False
    answer.raise_unless_there()
    return True


def _has_bytes(answer: Answer) -> None:
    answer.drain()
    # 416: a file shorter than what was asked for, but a file.
    if answer.status not in (206, 416):
        answer.raise_unless_there()
