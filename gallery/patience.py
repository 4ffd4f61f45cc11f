"""What takes the database too long is told as a question that was too large."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import OperationalError
from psycopg.errors import QueryCanceled

from gallery.errors import QueryInvalid

TOO_LONG = "This takes the database too long. Ask for less: fewer words, or a simpler filter."


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
