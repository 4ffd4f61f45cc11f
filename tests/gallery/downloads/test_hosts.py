from __future__ import annotations

import time

import pytest

from gallery.downloads import hosts
from gallery.downloads.errors import DownloadFailed
from gallery.downloads.hosts import Hosts


def ask(of: Hosts, name: str) -> None:
    with of.turn(name):
        pass


def have_waited(of: Hosts, name: str) -> None:
    """The time is over for which a host is left alone."""
    of._hosts[name].closed_until = time.monotonic()


def test_a_host_that_is_left_alone_is_asked_again_later():
    known = Hosts(at_once=1, interval_seconds=0)
    known.leave_alone("a:80", 60, "Not now.")
    with pytest.raises(DownloadFailed, match="Not now"):
        ask(known, "a:80")
    ask(known, "b:80")
    have_waited(known, "a:80")
    ask(known, "a:80")


def test_only_silences_in_a_row_count():
    known = Hosts(at_once=1, interval_seconds=0)
    for _ in range(3):
        for _ in range(hosts.SILENCES - 1):
            known.was_silent("a:80")
        known.answered("a:80")
    ask(known, "a:80")
    for _ in range(hosts.SILENCES):
        known.was_silent("a:80")
    with pytest.raises(DownloadFailed, match="did not answer 5 times in a row") as failure:
        ask(known, "a:80")
    assert failure.value.may_pass


def test_a_turn_that_failed_is_given_back():
    known = Hosts(at_once=1, interval_seconds=0)
    for _ in range(3):
        with pytest.raises(ValueError, match="broken"), known.turn("a:80"):
            raise ValueError("broken")
    known.leave_alone("a:80", 60, "Not now.")
    with pytest.raises(DownloadFailed):
        ask(known, "a:80")
    have_waited(known, "a:80")
    ask(known, "a:80")


def test_a_pause_holds_back_one_host():
    known = Hosts(at_once=5, interval_seconds=0)
    known.pause("a:80", 60)
    began = time.monotonic()
    ask(known, "b:80")
    assert time.monotonic() - began < 30
    began = time.monotonic()
    known.pause("b:80", 0.3)
    ask(known, "b:80")
    assert time.monotonic() - began >= 0.3


def test_a_million_hosts_are_not_all_remembered_but_those_that_asked_for_peace_are():
    known = Hosts(at_once=1, interval_seconds=0)
    known.leave_alone("busy:80", 60, "Not now.")
    for n in range(5 * hosts.MOST_KEPT):
        ask(known, f"{n}:80")
    assert len(known) <= hosts.MOST_KEPT
    with pytest.raises(DownloadFailed, match="Not now"):
        ask(known, "busy:80")
