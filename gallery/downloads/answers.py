"""What a server answers, and what that means for people."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import cast

import httpcore
import httpx

from gallery.downloads import vetting
from gallery.downloads.errors import DownloadFailed
from gallery.downloads.limits import Rules
from gallery.downloads.network import TimedStream

LONGEST_ABSENCE_SECONDS = 600.0  # however long a server asks to be left alone
DRAINED_BYTES = 2**14  # of a body that nobody reads, so that the connection can be used again

# What httpcore raises when a connection, and not the server at its end, fails.
CONNECTION_FAILURES = (
    httpcore.NetworkError,
    httpcore.TimeoutException,
    httpcore.ProtocolError,
)

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_BUSY = frozenset({429, 503})
_MAY_PASS = frozenset({408, 425, 429})
_NEVER_PASSES = frozenset({501, 505})
_MEANINGS = {
    401: "it wants a login",
    403: "it does not let us have it",
    404: "the file is gone, or never was there",
    410: "the file is gone",
    429: "it was asked too often",
    451: "it may not show the file",
    503: "it is overloaded or being mended",
}
# Where hosts lead to instead of saying that an image is gone.
_PLACEHOLDERS = re.compile(r".*/photo_unavailable\w*\.(png|gif|jpg)|i\.imgur\.com/removed\.png")


class Answer:
    """The head of one answer, and its body as it comes in."""

    def __init__(self, response: httpcore.Response) -> None:
        self._response = response
        self.status = response.status
        self._headers: dict[str, str] = {}
        for name, value in response.headers:
            # The first of several: only a list could have several, and none is read here.
            self._headers.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))

    def header(self, name: str) -> str:
        return self._headers.get(name, "").strip().lower()

    @property
    def was_asked_for(self) -> bool:
        """Say whether it came after its request. A body longer than announced may hold a next one.

        Else an image would be stored under the address of another.
        """
        stream = self._response.extensions.get("network_stream")
        return not isinstance(stream, TimedStream) or stream.is_answered

    @property
    def location(self) -> str:
        # UTF-8 as it stands is not allowed there, and common.
        raw = self._headers.get("location", "").strip().encode("latin-1")
        return raw.decode("utf-8", errors="replace")

    @property
    def length(self) -> int | None:
        """Bytes of the body as the server announced them."""
        announced = self.header("content-length")
        return int(announced) if announced.isdecimal() else None

    @property
    def redirects(self) -> bool:
        return self.status in _REDIRECTS and bool(self.location)

    @property
    def pieces(self) -> Iterator[bytes]:
        return iter(cast("Iterator[bytes]", self._response.stream))

    @property
    def wait_seconds(self) -> float | None:
        """How long the server asks us to stay away, if it does."""
        return retry_after(self.header("retry-after")) if self.status in _BUSY else None

    def raise_unless_there(self) -> None:
        """Raise DownloadFailed for all but a whole file."""
        if self.status in (200, 203):
            return
        meaning = _MEANINGS.get(self.status)
        if meaning is None and self.status >= 500:
            meaning = "it has a fault"
        raise DownloadFailed(
            f"The server answers {self.status}{f': {meaning}' if meaning else ''}.",
            may_pass=self.status in _MAY_PASS
            or (self.status >= 500 and self.status not in _NEVER_PASSES),
            wait_seconds=self.wait_seconds,
        )

    def drain(self) -> None:
        """Read on for a little: a connection with an unread answer cannot be used again."""
        left = DRAINED_BYTES
        for piece in self.pieces:
            left -= len(piece)
            if left < 0:
                return

    def close(self) -> None:
        self._response.close()


def redirected(url: httpx.URL, answer: Answer, rules: Rules) -> httpx.URL:
    """Return where the answer leads, vetted like any other URL."""
    try:
        target = url.join(answer.location)
    except (httpx.InvalidURL, ValueError) as error:
        raise DownloadFailed("The address leads on to what is none.") from error
    target = vetting.read_url(str(target), rules)
    if _PLACEHOLDERS.fullmatch(f"{target.host}{target.path}"):
        raise DownloadFailed("The server shows a placeholder: the image is gone.")
    return target


def retry_after(value: str) -> float | None:
    """Return the seconds of a Retry-After header; None where it says nothing sensible."""
    if value.isdecimal():
        return float(value[:9])
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.now(UTC)).total_seconds())


def failure_of(
    error: httpcore.NetworkError | httpcore.TimeoutException | httpcore.ProtocolError, host: str
) -> DownloadFailed:
    """Return what a failing connection means."""
    match error:
        case httpcore.ConnectTimeout() | httpcore.ConnectError():
            sentence = f"{host} cannot be reached."
        case httpcore.TimeoutException():
            sentence = f"{host} did not answer in time."
        case httpcore.ProtocolError():
            sentence = f"{host} broke off or did not speak HTTP."
        case _:
            sentence = f"The connection to {host} was lost."
    return DownloadFailed(sentence, may_pass=True)
