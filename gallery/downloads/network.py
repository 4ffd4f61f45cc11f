"""The edge of the network: names are resolved once, vetted, and connected to as they were vetted.

Whoever answers for a name can answer differently the next time. So there is no next time: the
connection goes to the very address that was vetted, while the Host header and the certificate are
still those of the name.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import httpcore

from gallery.downloads import vetting
from gallery.downloads.errors import DownloadFailed
from gallery.downloads.names import Names
from gallery.downloads.vetting import Address

MOST_TRIED = 4  # addresses of one name

_ends_at: ContextVar[float] = ContextVar("ends_at", default=float("inf"))


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Let all reading and writing in this block and thread end by then; they raise ReadTimeout.

    A server that sends one byte now and then never meets a limit on single reads.
    """
    token = _ends_at.set(min(_ends_at.get(), time.monotonic() + seconds))
    try:
        yield
    finally:
        _ends_at.reset(token)


def _remaining(at_most: float | None) -> float | None:
    left = _ends_at.get() - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout("out of time")
    if left == float("inf"):
        return at_most
    return left if at_most is None else min(left, at_most)


class TimedStream(httpcore.NetworkStream):
    """A connection that keeps to the time limit of whoever uses it now."""

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream
        self.is_answered = False  # whether anything came in since the last request went out

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self.is_answered = True
        return self._stream.read(max_bytes, _remaining(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self.is_answered = False
        self._stream.write(buffer, _remaining(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        # A name may end in a dot, a certificate's never does.
        name = server_hostname.rstrip(".") if server_hostname else None
        try:
            stream = self._stream.start_tls(ssl_context, name, _remaining(timeout))
        except httpcore.ConnectError as error:
            if isinstance(error.__cause__, ssl.SSLCertVerificationError):
                raise DownloadFailed(f"The certificate of {name} is not valid for it.") from error
            raise
        return TimedStream(stream)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class VettedNetwork(httpcore.NetworkBackend):
    """Connects to a name only when all its addresses are allowed, and then to one of these."""

    def __init__(self, is_allowed: Callable[[Address], bool]) -> None:
        self._is_allowed = is_allowed
        self._tcp = httpcore.SyncBackend()
        self._names = Names()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        failure: Exception = DownloadFailed(f"{host} has no address.")
        for address in self._vetted(host, port, timeout):
            try:
                stream = self._tcp.connect_tcp(
                    str(address), port, _remaining(timeout), local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return TimedStream(stream)
        raise failure

    def _vetted(self, host: str, port: int, timeout: float | None) -> list[Address]:
        """Return addresses of the host, no two alike. Raise DownloadRefused if any is not fine."""
        addresses = self._names.look_up(host, seconds=_remaining(timeout))
        if not all(map(self._is_allowed, addresses)):
            raise vetting.not_public(host)
        return addresses[:MOST_TRIED]
