from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gallery.duplicates import hamming


def every_pair(hashes, bits):
    """The judge: all with all."""
    distances = np.bitwise_count(hashes[:, None] ^ hashes[None])
    first, second = np.nonzero(np.triu(distances <= bits, 1))
    return set(zip(first.tolist(), second.tolist(), strict=True))


def found(hashes, bits):
    pairs = hamming.pairs_within(hashes, bits)
    listed = list(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    assert len(listed) == len(set(listed))
    return set(listed)


@given(
    st.lists(st.integers(0, 2**64 - 1), max_size=8),
    st.lists(st.tuples(st.integers(0, 7), st.sets(st.integers(0, 63), max_size=14)), max_size=60),
    st.integers(0, hamming.MOST_BITS),
)
@settings(deadline=None, max_examples=150)
def test_it_finds_exactly_the_pairs_that_comparing_all_with_all_finds(bases, changes, bits):
    values = list(bases)
    for place, flips in changes:
        if bases:
            values.append(bases[place % len(bases)] ^ sum(1 << flip for flip in flips))
    hashes = np.array(values, dtype=np.uint64)
    if len(values) and np.unique(hashes, return_counts=True)[1].max() > 8:
        return  # crowds are another promise
    assert found(hashes, bits) == every_pair(hashes, bits)


def test_of_a_crowd_the_first_is_paired_with_every_other():
    hashes = np.array([7] * 1000 + [6] * 500 + [2**40], dtype=np.uint64)
    pairs = found(hashes, 1)
    assert {(0, n) for n in range(1, 1000)} <= pairs
    assert {(1000, n) for n in range(1001, 1500)} <= pairs
    assert (0, 1000) in pairs
    assert len(pairs) == 999 + 499 + 1


def test_ten_thousand_random_hashes_hold_the_pairs_that_were_hidden_in_them():
    random = np.random.default_rng(3)
    hashes = random.integers(0, 2**64, size=10_000, dtype=np.uint64)
    hidden = {(n, 9_999 - n) for n in range(40)}
    for one, other in hidden:
        flips = random.choice(64, 10, replace=False)
        hashes[other] = hashes[one] ^ np.uint64(sum(1 << int(flip) for flip in flips))
    assert found(hashes, 10) == hidden


def test_more_bits_than_it_can_promise_are_refused():
    with pytest.raises(ValueError, match="from 0 to 11"):
        hamming.pairs_within(np.zeros(2, np.uint64), 12)


def test_no_hashes_have_no_pairs():
    assert found(np.empty(0, np.uint64), 10) == set()
    assert found(np.array([5], np.uint64), 10) == set()
