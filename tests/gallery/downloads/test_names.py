from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address

import pytest

from gallery.downloads import names
from gallery.downloads.errors import DownloadFailed, HostLeftAlone, NameUnanswered
from gallery.downloads.hosts import SILENCES
from gallery.downloads.limits import Limits
from gallery.downloads.names import Names
from tests.gallery.downloads.conftest import SMALL
from tests.workers import wait_until


@pytest.fixture
def silence(monkeypatch):
    """A name server that does not answer for `*.silent.example`, until the test is over."""
    over = threading.Event()
    asked: list[str] = []
    real = socket.getaddrinfo

    def look_up(host, port, **options):
        asked.append(host)
        if not host.endswith(".silent.example"):
            return real(host, port, **options)
        over.wait(60)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    yield asked
    over.set()
    wait_until(lambda: not any(thread.name == "look-up" for thread in threading.enumerate()))


def test_a_hundred_names_that_hang_hold_up_no_other(silence):
    names = Names()
    with ThreadPoolExecutor(100) as pool:
        hanging = [
            pool.submit(names.look_up, f"{n}.silent.example", seconds=0.5) for n in range(100)
        ]
        wait_until(lambda: len(silence) == 100)
        assert names.look_up("127.0.0.1", seconds=20) == [IPv4Address("127.0.0.1")]
        for one in hanging:
            with pytest.raises(NameUnanswered, match="could not be looked up in time"):
                one.result()
    # They still hang, and nobody waits for them.
    assert names.look_up("127.0.0.2", seconds=20) == [IPv4Address("127.0.0.2")]


def test_who_asks_for_the_same_name_waits_for_the_same_answer(silence):
    names = Names()
    for _ in range(3):
        with pytest.raises(NameUnanswered):
            names.look_up("a.silent.example", seconds=0.05)
    assert silence == ["a.silent.example"]


def test_a_look_up_has_a_deadline_of_its_own(silence, monkeypatch):
    monkeypatch.setattr(names, "SECONDS", 0.1)
    began = time.monotonic()
    with pytest.raises(NameUnanswered):
        Names().look_up("a.silent.example", seconds=None)
    assert time.monotonic() - began < 30


def test_a_first_name_server_that_is_down_leaves_time_for_the_second():
    asks_the_next_after = 5  # seconds: "timeout" of resolv.conf
    shortest = min(names.SECONDS, Limits().connect_seconds)
    assert shortest >= 2 * asks_the_next_after


def test_names_that_hang_have_an_end(silence, monkeypatch):
    monkeypatch.setattr(names, "MOST_AT_ONCE", 3)
    looking = Names()
    for n in range(3):
        with pytest.raises(NameUnanswered):
            looking.look_up(f"{n}.silent.example", seconds=0.05)
    with pytest.raises(DownloadFailed, match="Too many names") as failure:
        looking.look_up("127.0.0.1", seconds=20)
    assert failure.value.may_pass


def test_an_answer_is_not_kept(silence):
    names = Names()
    for _ in range(2):
        names.look_up("127.0.0.1", seconds=20)
    assert silence == ["127.0.0.1"] * 2


def test_a_host_that_no_name_server_answers_for_is_left_alone(silence, make_downloader):
    downloader = make_downloader(attempts=SILENCES, connect_seconds=0.05)
    with pytest.raises(NameUnanswered):
        downloader.fetch("http://a.silent.example/", SMALL)
    with pytest.raises(HostLeftAlone):
        downloader.fetch("http://a.silent.example/again", SMALL)
