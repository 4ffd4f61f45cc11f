"""What it means when Postgres breaks off in the middle: its error says more than its class."""

from __future__ import annotations

# SQLSTATE classes that pass: connection, rollback by conflict, resources, an administrator's stop.
# Others of OperationalError (a text too long for an index) would fail for ever.
_PASSING = ("08", "40", "53", "55", "57", "58")
_CONNECTION = ("08", "57P")


def is_passing(error: Exception) -> bool:
    """Whether an error of the database may be gone soon."""
    state = _state(error)
    return not state or state.startswith(_PASSING)


def is_unsure(error: Exception) -> bool:
    """Whether nobody can tell if a transaction came to its end: the connection was lost."""
    state = _state(error)
    return not state or state.startswith(_CONNECTION)


def _state(error: Exception) -> str:
    return getattr(error.__cause__, "sqlstate", None) or ""
