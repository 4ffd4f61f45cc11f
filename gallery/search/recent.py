"""Texts that were asked lately, to compare two encoders by: without who asked them.

They are noted only while there is a second space, and gone from Redis a day later.
"""

from __future__ import annotations

import threading
import time

from django.conf import settings
from django.core.cache import cache
from redis.exceptions import RedisError

from gallery import spaces
from gallery.query import Query, TextTerm
from gallery.search import kept

EVERY_SECONDS = 1.0  # of this process: more would be felt, and tell no more
KEEP_SECONDS = 24 * 3600
_PLACE = "recent-query:{}"

_lock = threading.Lock()
_last_at = -EVERY_SECONDS  # monotonic seconds


def remember(query: Query) -> None:
    """Note the text of a query that is one text alone. Never fails the search that calls it."""
    if not settings.RECENT_QUERIES or spaces.beside_lately() is None:
        return
    wanted = [term for term in query.terms if term.weight > 0]
    if len(wanted) != 1 or not isinstance(wanted[0], TextTerm) or not _turn():
        return
    try:
        place = kept.count("recent-queries", seconds=KEEP_SECONDS) % settings.RECENT_QUERIES
        kept.write(_PLACE.format(place), wanted[0].text, seconds=KEEP_SECONDS)
    except kept.NotKept:
        pass  # it is compared by others


def texts() -> list[str]:
    """Return the texts, each once; none while Redis does not answer."""
    places = [_PLACE.format(place) for place in range(settings.RECENT_QUERIES)]
    try:
        found = cache.get_many(places)
    except RedisError:
        return []
    return list(dict.fromkeys(str(text) for text in found.values()))


def _turn() -> bool:
    global _last_at
    now = time.monotonic()
    with _lock:
        if now - _last_at < EVERY_SECONDS:
            return False
        _last_at = now
        return True
