from __future__ import annotations

import pickle
from dataclasses import fields

import numpy as np
import pytest

from gallery.search.packing import beginning, pack, unpack
from gallery.search.rankings import Ranking


def ranking(n: int, legs: int) -> Ranking:
    random = np.random.default_rng(1)
    scores = np.sort(random.random(n, dtype=np.float32))[::-1]
    ranks = np.stack([random.permutation(n) for _ in range(legs)], axis=1).astype(np.int32)
    leg_scores = random.random((n, legs), dtype=np.float32) if legs > 1 else scores[:, None]
    return Ranking(
        ids=random.permutation(n).astype(np.int64) + 2**33,
        scores=scores,
        bands=random.integers(0, 3, n).astype(np.uint8),
        leg_ranks=ranks,
        leg_scores=leg_scores,
        by_band=(1, 2, 3),
        is_complete=True,
    )


@pytest.mark.parametrize("legs", [1, 3])
@pytest.mark.parametrize("n", [0, 1, 1000])
def test_a_ranking_comes_back_as_it_was(n, legs):
    before = ranking(n, legs)
    after = unpack(pack(before))
    for field in fields(Ranking):
        one, other = getattr(before, field.name), getattr(after, field.name)
        if field.name == "leg_scores":
            assert other.dtype == np.float32
            assert np.allclose(one, other, atol=5e-4)
        elif isinstance(one, np.ndarray):
            assert one.dtype == other.dtype
            assert np.array_equal(one, other)
        else:
            assert one == other
    assert len(after.taken(slice(0, 5))) == min(n, 5)


def test_the_longest_ranking_of_three_legs_takes_less_than_two_megabytes():
    assert len(pickle.dumps(pack(ranking(100_000, 3)))) < 2_000_000


def test_the_beginning_of_a_longer_ranking_goes_on():
    whole = ranking(10, 2)
    assert beginning(whole, 10) is whole
    first = beginning(whole, 4)
    assert np.array_equal(first.ids, whole.ids[:4])
    assert not first.is_complete
