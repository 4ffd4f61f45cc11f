"""What share of its candidates a filter let through when it was last asked.

Only a guess for the next time, so nothing keeps it true: where it is wrong too few candidates pass,
and the planner goes its usual way.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

MOST_FILTERS = 1000
LONGEST_KEY = 10_000  # characters

_shares: OrderedDict[str, float] = OrderedDict()
_lock = threading.Lock()


def last(key: str) -> float:
    """Return the share that passed under a key (table and filter), 0 to 1; 0: not known."""
    with _lock:
        return _shares.get(key, 0.0)


def remember(key: str, share: float) -> None:
    """Remember a share; half of what was known stays, because few candidates tell it roughly."""
    if len(key) > LONGEST_KEY:
        return
    with _lock:
        _shares[key] = (share + _shares.get(key, share)) / 2
        _shares.move_to_end(key)
        if len(_shares) > MOST_FILTERS:
            _shares.popitem(last=False)


def forget_all() -> None:
    with _lock:
        _shares.clear()
