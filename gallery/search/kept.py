"""What Redis keeps of searches: query vectors across processes, and rankings for some time.

Search works without: a vector is then encoded anew, and a page has no search id.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from django.core.cache import cache
from redis.exceptions import RedisError, ResponseError

RETRY_SECONDS = 5.0  # not every search waits for a Redis that does not answer

log = logging.getLogger(__name__)

_failed_at = -RETRY_SECONDS  # monotonic seconds


class NotKept(Exception):
    """Redis does not answer, or did not a moment ago, or refuses."""


def read(key: str) -> Any:
    """Return what is kept under a key, or None. Raise NotKept."""
    return _ask("get", key)


def write(key: str, value: object, *, seconds: int) -> None:
    """Keep a value, in the place of an older one. Raise NotKept."""
    _ask("set", key, value, timeout=seconds)


def write_first(key: str, value: object, *, seconds: int) -> bool:
    """Keep a value unless there is one, and return whether it is kept. Raise NotKept."""
    return bool(_ask("add", key, value, timeout=seconds))


def count(key: str, *, seconds: int) -> int:
    """Add one to a number that is kept, and return it; the first is 1. Raise NotKept."""
    if not _ask("touch", key, seconds):
        _ask("add", key, 0, timeout=seconds)
    return int(_ask("incr", key))


def _ask(verb: str, *arguments: object, **options: object) -> Any:
    global _failed_at
    if time.monotonic() - _failed_at < RETRY_SECONDS:
        raise NotKept
    try:
        return getattr(cache, verb)(*arguments, **options)
    except RedisError as error:
        if not isinstance(error, ResponseError):  # a refusal to write comes at once
            _failed_at = time.monotonic()
        log.warning("Searches are not kept for now: %s", error)
        raise NotKept from error
