from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from gallery.downloads.client import Downloader
from gallery.downloads.limits import Limits, Rules, Wanted
from tests.gallery.downloads.servers import Server, serving

OWN_NETWORK = Rules(allows_private=True, ports=(range(1, 65536),))
# What a real server is given; but between attempts there are no seconds.
QUICK = Limits(
    attempts=3,
    slowest_bytes_per_second=10_000,
    first_wait_seconds=0.01,
    longest_wait_seconds=1,
    interval_seconds=0,
)
# For servers that are as slow as no busy machine makes one.
IMPATIENT = {"attempts": 1, "connect_seconds": 2, "answer_seconds": 2, "silence_seconds": 1}
SMALL = Wanted(accept="image/*", most_bytes=200_000, seconds=60)


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Start servers that are stopped when the test ends."""
    with ExitStack() as servers:
        yield lambda answering, **options: servers.enter_context(serving(answering, **options))


@pytest.fixture
def make_downloader() -> Iterator[Callable[..., Downloader]]:
    """Make downloaders that close their connections when the test ends."""
    with ExitStack() as made:

        def make(rules: Rules = OWN_NETWORK, *, network=None, **limits) -> Downloader:
            downloader = Downloader(rules, replace(QUICK, **limits), network=network)
            made.callback(downloader.close)
            return downloader

        yield make


@pytest.fixture
def fetch(make_downloader):
    """Fetch a URL of the own network, and return its bytes."""
    downloader = make_downloader()

    def fetch(url, wanted=SMALL):
        with downloader.fetch(url, wanted) as file:
            return file.read()

    return fetch


@pytest.fixture
def names(monkeypatch) -> dict[str, list[list[str]]]:
    """A stand-in for DNS: what each name is answered, time after time; the last answer stays.

    Numbers are looked up as ever, and so is nothing else.
    """
    answers: dict[str, list[list[str]]] = {}
    real = socket.getaddrinfo

    def look_up(host, port, *args, **kwargs):
        if host in answers:
            queue = answers[host]
            addresses = queue.pop(0) if len(queue) > 1 else queue[0]
            return [one for address in addresses for one in real(address, port, *args, **kwargs)]
        if any(letter.isalpha() for letter in host.replace("0x", "")) and ":" not in host:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real(host, port, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return answers
