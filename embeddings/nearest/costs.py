"""What the ways to an answer cost, in microseconds: enough to tell the cheapest of them.

Fitted to searches of 100,000 vectors of 512 dimensions on one core. Only the ratios matter, and
these are much the same on another machine.
"""

from __future__ import annotations

DEEP = 1000  # candidates: from there on reading every vector is cheaper than following a graph
EXACT_IS_WORTH = 4.0  # times the cost of an approximate answer

_ROUND_TRIP = 150.0
_BIT = 0.0013  # to pass by a vector that the filter does not leave
_DIMENSION = 0.00035  # to compare one that it leaves, of each of its dimensions
_ID = 0.15  # to read an id that the filter leaves
_CANDIDATE = 5.0  # to find one in a graph and to look it up under the filter


def of_over_fetch(candidates: int) -> float:
    """Return the cost of asking the index for some candidates and of checking them."""
    return _ROUND_TRIP + _CANDIDATE * candidates


def of_scan(vectors: int, passing: float, dimensions: int, *, ids_known: bool) -> float:
    """Return the cost of comparing with all that pass, of all vectors of an index."""
    reading = 0.0 if ids_known else _ROUND_TRIP + _ID * passing
    return _ROUND_TRIP + reading + _BIT * vectors + _DIMENSION * dimensions * passing


def is_over_fetch_better(
    candidates: int, vectors: int, passing: float, dimensions: int, *, ids_known: bool
) -> bool:
    """Whether to over-fetch, which is approximate, rather than to scan, which looks at all."""
    if candidates > DEEP:
        return False
    scan = of_scan(vectors, passing, dimensions, ids_known=ids_known)
    return EXACT_IS_WORTH * of_over_fetch(candidates) < scan
