"""How long somebody who waits for an answer is made to wait.

What takes the database too long is told as a question that was too large.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from django.db import OperationalError
from psycopg.errors import QueryCanceled

from gallery.errors import QueryInvalid

DECODER_SECONDS = 20.0  # for a process that decodes to be free

TOO_LONG = "This takes the database too long. Ask for less: fewer words, or a simpler filter."

_decoder_seconds: ContextVar[float | None] = ContextVar("decoder_seconds", default=None)


@contextmanager
def somebody_waits() -> Iterator[None]:
    """Let nothing in this block and thread wait for long: it is done for a request."""
    token = _decoder_seconds.set(DECODER_SECONDS)
    try:
        yield
    finally:
        _decoder_seconds.reset(token)


def decoder_seconds() -> float | None:
    """Return how long to wait for a process that decodes; None where nobody waits for us."""
    return _decoder_seconds.get()


@contextmanager
def patience() -> Iterator[None]:
    """Raise QueryInvalid where Postgres has ended a statement for its length."""
    try:
        yield
    except OperationalError as error:
        if took_too_long(error):
            raise QueryInvalid(TOO_LONG) from error
        raise


def took_too_long(error: Exception) -> bool:
    return isinstance(error.__cause__, QueryCanceled)
