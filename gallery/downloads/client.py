"""Fetching over HTTP from servers that nobody knows: slow, broken, gone, or out for something.

httpcore alone speaks HTTP here. What a fuller client adds (redirects that it follows by itself,
cookies, proxies of the environment, passwords of .netrc, decoding without a limit) must not happen.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import IO, TypeVar

import httpcore
import httpx

from gallery.downloads import answers, bodies, vetting
from gallery.downloads.answers import Answer
from gallery.downloads.errors import DownloadFailed, NameUnanswered
from gallery.downloads.hosts import Hosts
from gallery.downloads.limits import Limits, Rules, Wanted
from gallery.downloads.network import VettedNetwork, time_limit

USER_AGENT = "Semblance (image search server)"
MOST_IDLE = 64  # connections that are kept for the next request
IDLE_SECONDS = 10.0

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked of a server, and of the ones that it leads to."""

    url: str
    wanted: Wanted
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()


@dataclass
class _Budget:
    """Seconds that are left for asking and reading; waiting for a turn costs none."""

    seconds: float

    @contextmanager
    def spent_here(self) -> Iterator[None]:
        began = time.monotonic()
        try:
            with time_limit(self.seconds):
                yield
        finally:
            self.seconds -= time.monotonic() - began


class Downloader:
    """Fetches files, for many threads at once. They share its connections and its manners."""

    def __init__(
        self, rules: Rules, limits: Limits, *, network: httpcore.NetworkBackend | None = None
    ) -> None:
        self.limits = limits
        self._rules = rules
        self._hosts = Hosts(
            at_once=limits.at_once_per_host, interval_seconds=limits.interval_seconds
        )
        self._pool = httpcore.ConnectionPool(
            max_connections=None,  # bounded by the threads that ask
            max_keepalive_connections=MOST_IDLE,
            keepalive_expiry=IDLE_SECONDS,
            # The machine's own certificates (SSL_CERT_FILE adds to them), and certifi's.
            ssl_context=httpcore.default_ssl_context(),
            network_backend=network or VettedNetwork(partial(vetting.is_allowed, rules=rules)),
        )

    def close(self) -> None:
        """Close the connections that are kept. It can be used on."""
        self._pool.close()

    def fetch(self, url: str, wanted: Wanted) -> IO[bytes]:
        """Return the file at the URL, seekable and at its start; the caller closes it.

        Raise DownloadFailed when it cannot be had, DownloadRefused when it must not.
        """
        return self.ask(Request(url=url, wanted=wanted), partial(self._file, wanted=wanted))

    def ask(self, request: Request, read: Callable[[Answer], T]) -> T:
        """Return what `read` makes of the answer; ask again, after a while, where that may help."""
        url = vetting.read_url(request.url, self._rules)
        budget = _Budget(request.wanted.seconds)
        attempt = 1
        while True:
            try:
                return self._follow(request, url, read, budget)
            except DownloadFailed as failure:
                if budget.seconds <= 0:
                    raise DownloadFailed(
                        f"The download took more than {request.wanted.seconds:,.0f} seconds.",
                        may_pass=failure.may_pass,
                    ) from failure
                if not failure.may_pass or attempt >= self.limits.attempts:
                    raise
                self._wait(attempt, failure)
            attempt += 1

    def _wait(self, attempt: int, failure: DownloadFailed) -> None:
        asked = failure.wait_seconds
        if asked and asked > self.limits.longest_wait_seconds:
            raise failure
        if not asked:
            # A server that lost a hundred connections at once must not get them back at once.
            seconds = self.limits.first_wait_seconds * 2 ** (attempt - 1)
            time.sleep(seconds * random.uniform(0.5, 1))
        # Else the host's next turn comes only when the time that it asked for is over.

    def _follow(
        self, request: Request, url: httpx.URL, read: Callable[[Answer], T], budget: _Budget
    ) -> T:
        seen = {url}
        for _ in range(self.limits.redirects + 1):
            with self._answer(request, url, budget) as answer:
                if not answer.redirects:
                    return read(answer)
                answer.drain()
            url = answers.redirected(url, answer, self._rules)
            if url in seen:
                raise DownloadFailed("The address leads in a circle.")
            seen.add(url)
        raise DownloadFailed(f"The address leads on more than {self.limits.redirects} times.")

    @contextmanager
    def _answer(self, request: Request, url: httpx.URL, budget: _Budget) -> Iterator[Answer]:
        """Ask one server. What happens to the connection, in the block too, is a DownloadFailed."""
        host = f"{url.host}:{vetting.port_of(url)}"
        # One turn for each server on the way, never two at once: they could wait for each other.
        with self._hosts.turn(host), budget.spent_here():
            try:
                answer = self._send(request, url)
                self._hosts.answered(host)
                try:
                    self._heed(host, answer)
                    yield answer
                finally:
                    answer.close()
            except NameUnanswered:
                self._hosts.was_silent(host)
                raise
            except answers.CONNECTION_FAILURES as error:
                if isinstance(error, httpcore.ConnectError | httpcore.TimeoutException):
                    self._hosts.was_silent(host)
                raise answers.failure_of(error, url.host) from error

    def _send(self, request: Request, url: httpx.URL) -> Answer:
        limits = self.limits
        timeouts = {
            "connect": limits.connect_seconds,
            "read": limits.silence_seconds,
            "write": limits.silence_seconds,
        }
        sent = httpcore.Request(
            request.method,
            httpcore.URL(
                scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
            ),
            headers=[
                ("Host", url.netloc),
                ("User-Agent", USER_AGENT),
                ("Accept", request.wanted.accept),
                ("Accept-Encoding", "identity"),
                *request.headers,
            ],
            extensions={"timeout": timeouts},
        )
        with time_limit(limits.answer_seconds):
            answer = Answer(self._pool.handle_request(sent))
        if not answer.was_asked_for:
            answer.close()
            raise httpcore.RemoteProtocolError("an answer that came with the one before")
        return answer

    def _heed(self, host: str, answer: Answer) -> None:
        """Let everybody wait when the server asks one of us to."""
        seconds = answer.wait_seconds
        if seconds is None:
            return
        if seconds <= self.limits.longest_wait_seconds:
            self._hosts.pause(host, seconds)
        else:
            why = f"{host} asked to be left alone for {seconds:,.0f} seconds. Try again then."
            self._hosts.leave_alone(host, min(seconds, answers.LONGEST_ABSENCE_SECONDS), why)

    def _file(self, answer: Answer, *, wanted: Wanted) -> IO[bytes]:
        answer.raise_unless_there()
        return bodies.received(
            answer.pieces,
            encoding=answer.header("content-encoding"),
            length=answer.length,
            most_bytes=wanted.most_bytes,
            limits=self.limits,
        )
