"""What share of its candidates a filter let through when it was last asked.

Only a guess for the next time, so nothing keeps it true: where it is wrong too few candidates pass,
and the planner goes its usual way.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

MOST_FILTERS = 1000
LONGEST_TEXT = 10_000  # of a filter that is remembered, in characters

_shares: OrderedDict[str, float] = OrderedDict()
_lock = threading.Lock()


def last(filter_text: str) -> float:
    """Return the share that passed, 0 to 1; 0 when nothing is known."""
    with _lock:
        return _shares.get(filter_text, 0.0)


def remember(filter_text: str, share: float) -> None:
    if len(filter_text) > LONGEST_TEXT:
        return
    with _lock:
        _shares[filter_text] = share
        _shares.move_to_end(filter_text)
        if len(_shares) > MOST_FILTERS:
            _shares.popitem(last=False)


def forget_all() -> None:
    with _lock:
        _shares.clear()
