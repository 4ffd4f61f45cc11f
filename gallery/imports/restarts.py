"""An import outlives a restart of Postgres: what fails for that is tried again for a while."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from django.db import InterfaceError, OperationalError, connection

from gallery.imports.errors import DatabaseAway
from gallery.interruptions import is_passing

SECONDS = 60.0
PAUSE_SECONDS = 0.5

Result = TypeVar("Result")


def patient(act: Callable[[], Result], *, seconds: float | None = None) -> Result:
    """Return what `act` does, however often it takes. It must be safe to repeat.

    Not inside a transaction: the connection is made anew. Raise DatabaseAway in the end.
    """
    deadline = 0.0
    while True:
        try:
            return act()
        except (InterfaceError, OperationalError) as error:
            if not is_passing(error):
                raise
            connection.close()
            deadline = deadline or time.monotonic() + (SECONDS if seconds is None else seconds)
            if time.monotonic() > deadline:
                raise DatabaseAway(
                    "The database does not answer. Nothing is lost: go on when it does."
                ) from error
            time.sleep(PAUSE_SECONDS)
