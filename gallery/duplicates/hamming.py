"""Which perceptual hashes lie near each other: exact, and far from comparing all with all.

Two hashes that differ in at most 11 of 64 bits differ in at most 2 of one of their four quarters
(Norouzi and others 2012, multi-index hashing). So it is enough to compare those whose quarters do.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]  # (n,)
Places = NDArray[np.int64]  # (n,), where something stands in Hashes

MOST_BITS = 11  # for which two bits a quarter are enough
# Of images with the very same hash so many are compared with each other; a larger crowd only with
# its first one. Ten thousand copies of a logo are 50 million pairs.
CROWD = 64

_QUARTER = 16
_QUARTERS = 4
_PAIRS_AT_ONCE = 4_000_000  # about 100 MB
# What a quarter may differ by, in at most 0, 1 or 2 bits.
_FLIPS = [
    [sum(1 << bit for bit in bits) for bits in itertools.combinations(range(_QUARTER), n)]
    for n in range(MOST_BITS // _QUARTERS + 1)
]


class Pairs(NamedTuple):
    """Places of hashes that lie near each other, first < second, each pair once."""

    first: Places
    second: Places


def as_hashes(signed: NDArray[np.int64]) -> Hashes:
    """Return bigints of Postgres as the 64 bits they are."""
    return signed.view(np.uint64)


def pairs_within(hashes: Hashes, bits: int) -> Pairs:
    """Return all pairs of hashes that differ in at most `bits` bits, 11 at most.

    Of a hash that stands there more than CROWD times only the first is paired with the others.
    """
    if not 0 <= bits <= MOST_BITS:
        raise ValueError(f"bits must be from 0 to {MOST_BITS}; it is {bits}.")
    order = np.argsort(hashes, kind="stable")  # of equal ones the first stays first
    values, starts, counts = np.unique(hashes[order], return_index=True, return_counts=True)
    found = [_within_crowds(order, starts, counts)]
    if bits:
        near = _distinct_within(values, bits)
        found.append(_between_crowds(order, starts, counts, near))
    first, second = (np.concatenate(places) for places in zip(*found, strict=True))
    return Pairs(np.minimum(first, second), np.maximum(first, second))


def _distinct_within(values: Hashes, bits: int) -> Pairs:
    """Return the pairs of different hashes."""
    packed = [np.empty(0, np.int64)]
    for quarter in range(_QUARTERS):
        keys = (values >> np.uint64(quarter * _QUARTER)).astype(np.int64) & 0xFFFF
        # Of 10 bits, three quarters may take 2 and the last 1: with one more in each it were 11.
        most = max(bits - quarter, 0) // _QUARTERS
        for one, other in _candidates(keys, most):
            is_near = np.bitwise_count(values[one] ^ values[other]) <= bits
            one, other = one[is_near], other[is_near]
            # As one number a pair; it may turn up in several quarters.
            packed.append(np.minimum(one, other) * len(values) + np.maximum(one, other))
    pairs = np.unique(np.concatenate(packed))
    return Pairs(*np.divmod(pairs, max(len(values), 1)))


def _candidates(keys: Places, most: int) -> Iterator[tuple[Places, Places]]:
    """Yield places whose keys differ in at most `most` bits, some millions of pairs at once."""
    order = np.argsort(keys, kind="stable")
    counts = np.bincount(keys, minlength=1 << _QUARTER)
    starts = np.concatenate([[0], np.cumsum(counts)])
    filled = np.flatnonzero(counts)
    for flip in itertools.chain.from_iterable(_FLIPS[: most + 1]):
        one = filled if not flip else filled[filled < (filled ^ flip)]
        other = one ^ flip
        sizes = counts[one] * counts[other]
        one, other, sizes = one[sizes > 0], other[sizes > 0], sizes[sizes > 0]
        for part in _parts(sizes):
            some, beside = one[part], other[part]
            left, right = _products(starts[some], counts[some], starts[beside], counts[beside])
            if not flip:
                left, right = left[left < right], right[left < right]
            yield order[left], order[right]


def _parts(sizes: Places) -> Iterator[slice]:
    """Yield slices of about _PAIRS_AT_ONCE in sum, each of one entry at least."""
    ends = np.cumsum(sizes)
    start = 0
    while start < len(sizes):
        done = ends[start - 1] if start else 0
        stop = max(int(np.searchsorted(ends, done + _PAIRS_AT_ONCE, side="right")), start + 1)
        yield slice(start, stop)
        start = stop


def _products(
    left: Places, heights: Places, right: Places, widths: Places
) -> tuple[Places, Places]:
    """Return every place of each left range with every place of the right range beside it.

    Ranges begin at `left` and `right` and are `heights` and `widths` long.
    """
    rows = _ranges(left, heights)
    widths = np.repeat(widths, heights)
    return np.repeat(rows, widths), _ranges(np.repeat(right, heights), widths)


def _ranges(starts: Places, lengths: Places) -> Places:
    """Return the places of all ranges, one range after the other."""
    before = np.cumsum(lengths) - lengths
    places: Places = np.arange(lengths.sum()) + np.repeat(starts - before, lengths)
    return places


def _within_crowds(order: Places, starts: Places, counts: Places) -> Pairs:
    small = counts <= CROWD
    left, right = _products(starts[small], counts[small], starts[small], counts[small])
    left, right = left[left < right], right[left < right]
    # The first of a large crowd with all others.
    members = np.repeat(~small, counts) & (np.arange(len(order)) != np.repeat(starts, counts))
    hubs = np.repeat(starts, counts)[members]
    return Pairs(
        order[np.concatenate([left, hubs])], order[np.concatenate([right, np.flatnonzero(members)])]
    )


def _between_crowds(order: Places, starts: Places, counts: Places, near: Pairs) -> Pairs:
    """Pair the images of two hashes: all with all, or where they are many the first of each."""
    one, other = near
    wide = counts[one] * counts[other] <= CROWD
    some, beside = one[wide], other[wide]
    left, right = _products(starts[some], counts[some], starts[beside], counts[beside])
    return Pairs(
        order[np.concatenate([left, starts[one[~wide]]])],
        order[np.concatenate([right, starts[other[~wide]]])],
    )
