"""Manners towards each server: so many requests at once, not too fast, and a pause when it asks."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from gallery.downloads.errors import HostLeftAlone

MOST_KEPT = 1000  # hosts that are remembered while nobody asks them
SILENCES = 5  # in a row, until a host is left alone
LEFT_ALONE_SECONDS = 60.0


class _Host:
    """What is known of one host. Its fields are read and written under the lock of `Hosts`."""

    def __init__(self) -> None:
        self.busy = 0  # requests under way
        self.waiting = 0
        self.next_at = 0.0  # when the next request may begin
        self.silences = 0
        self.closed_until = 0.0
        self.why_closed = ""

    @property
    def is_forgettable(self) -> bool:
        now = time.monotonic()
        return not (self.busy or self.waiting or max(self.closed_until, self.next_at) > now)


class Hosts:
    """Gives out turns. Threads share one; a host is a name with its port."""

    def __init__(self, *, at_once: int, interval_seconds: float) -> None:
        self._at_once = at_once
        self._interval = interval_seconds
        self._freed = threading.Condition()
        self._hosts: dict[str, _Host] = {}

    def __len__(self) -> int:
        """How many hosts are remembered."""
        return len(self._hosts)

    @contextmanager
    def turn(self, name: str) -> Iterator[None]:
        """Wait until this host may be asked. Raise DownloadFailed while it is left alone."""
        host = self._begin(name)
        try:
            self._wait(host)
            yield
        finally:
            with self._freed:
                host.busy -= 1
                self._freed.notify_all()

    def pause(self, name: str, seconds: float) -> None:
        """Ask nothing more of the host for so long; who waits for a turn waits on."""
        with self._freed:
            host = self._host(name)
            host.next_at = max(host.next_at, time.monotonic() + seconds)

    def leave_alone(self, name: str, seconds: float, why: str) -> None:
        """Let all requests to the host fail at once for so long, with this sentence."""
        with self._freed:
            host = self._host(name)
            host.closed_until = max(host.closed_until, time.monotonic() + seconds)
            host.why_closed = why
            self._freed.notify_all()

    def answered(self, name: str) -> None:
        with self._freed:
            self._host(name).silences = 0

    def was_silent(self, name: str) -> None:
        """Note that the host could not be reached; after some times in a row it is left alone.

        Else each of ten thousand addresses of a host that is gone would wait for its own timeout.
        """
        with self._freed:
            host = self._host(name)
            host.silences += 1
            silences = host.silences
        if silences >= SILENCES:
            why = f"{name} did not answer {silences} times in a row; it is left alone for a while."
            self.leave_alone(name, LEFT_ALONE_SECONDS, why)

    def _begin(self, name: str) -> _Host:
        with self._freed:
            host = self._host(name)
            host.waiting += 1
            try:
                self._freed.wait_for(lambda: host.busy < self._at_once or self._is_closed(host))
                self._refuse_closed(host)
                host.busy += 1
            finally:
                host.waiting -= 1
            return host

    def _wait(self, host: _Host) -> None:
        """Wait for the host's time, which may be put off meanwhile."""
        while True:
            with self._freed:
                self._refuse_closed(host)
                now = time.monotonic()
                if host.next_at <= now:
                    host.next_at = now + self._interval
                    return
                left = host.next_at - now
            time.sleep(left)

    def _host(self, name: str) -> _Host:
        if name not in self._hosts and len(self._hosts) >= MOST_KEPT:
            self._hosts = {
                known: host for known, host in self._hosts.items() if not host.is_forgettable
            }
        return self._hosts.setdefault(name, _Host())

    @staticmethod
    def _is_closed(host: _Host) -> bool:
        return host.closed_until > time.monotonic()

    def _refuse_closed(self, host: _Host) -> None:
        if self._is_closed(host):
            raise HostLeftAlone(host.why_closed, may_pass=True)
