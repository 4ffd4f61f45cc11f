from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embeddings.vectors import normalise
from gallery.search.diversity import spread
from gallery.search.fusion import RankedList, greatest, ranks_in, reciprocal_rank


def ranked(*ids, scores=None, bands=None):
    n = len(ids)
    return RankedList(
        np.array(ids, dtype=np.int64),
        np.array(scores if scores is not None else range(n, 0, -1), dtype=np.float32),
        np.array(bands if bands is not None else [0] * n, dtype=np.uint8),
    )


def test_fused_scores_are_sums_of_reciprocal_ranks():
    fused = reciprocal_rank([ranked(5, 3, 9), ranked(3, 7)], [1.0, 2.0])
    assert fused.ids.tolist() == [3, 7, 5, 9]
    assert fused.scores == pytest.approx([1 / 62 + 2 / 61, 2 / 62, 1 / 61, 1 / 63])


def test_equals_come_by_id():
    fused = reciprocal_rank([ranked(9), ranked(2), ranked(4)], [1.0, 1.0, 1.0])
    assert fused.ids.tolist() == [2, 4, 9]


def test_an_image_has_the_best_of_its_bands():
    fused = reciprocal_rank([ranked(1, 2, bands=[2, 1]), ranked(2, 1, bands=[2, 0])], [1.0, 1.0])
    assert dict(zip(fused.ids.tolist(), fused.bands.tolist(), strict=True)) == {1: 0, 2: 1}


def test_empty_lists_fuse_to_an_empty_one():
    assert len(reciprocal_rank([ranked(), ranked()], [1.0, 1.0]).ids) == 0
    assert reciprocal_rank([ranked(), ranked(4)], [1.0, 1.0]).ids.tolist() == [4]


@given(
    st.integers(1, 4).flatmap(
        lambda terms: st.tuples(
            st.lists(st.lists(st.integers(0, 50), min_size=terms, max_size=terms), min_size=1),
            st.lists(st.sampled_from([0.25, 0.5, 1.0]), min_size=terms, max_size=terms),
        )
    ),
    st.integers(1, 10),
)
def test_the_first_k_by_the_greatest_score_need_only_the_first_k_of_each_list(given_scores, k):
    rows, weights = given_scores
    scores = np.array(rows, dtype=np.float32) / 50  # (images, terms)
    lists = []
    for column in scores.T:
        order = np.lexsort((np.arange(len(column)), -column))[:k]
        lists.append(ranked(*order, scores=column[order]))
    found = greatest(lists, weights)
    judge = np.sort((scores * np.array(weights, np.float32)).max(axis=1))[::-1][:k]
    assert found.scores[:k] == pytest.approx(judge)


def test_ranks_of_ids_in_a_list():
    assert ranks_in(ranked(7, 2, 9), np.array([2, 5, 7, 9])).tolist() == [2, 0, 1, 3]
    assert ranks_in(ranked(), np.array([2])).tolist() == [0]


def test_without_diversity_the_order_is_that_of_the_scores():
    vectors = normalise(np.random.default_rng(0).normal(size=(20, 8)))
    scores = np.linspace(1, 0, 20, dtype=np.float32)
    assert spread(scores, vectors, 0.0).tolist() == list(range(20))


def test_diversity_puts_a_copy_behind_what_is_new():
    rows = [[1, 0, 0], [1, 0.01, 0], [1, 0.02, 0], [0.6, 0.8, 0], [0.9, 0, 0.5]]
    scores = np.array([0.9, 0.89, 0.88, 0.85, 0.5], dtype=np.float32)
    order = spread(scores, normalise(np.array(rows)), 0.5).tolist()
    assert order[:2] == [0, 3]
    assert sorted(order) == [0, 1, 2, 3, 4]


def test_the_more_diversity_the_less_alike_are_the_first_hits():
    random = np.random.default_rng(1)
    vectors = normalise(random.normal(size=(10, 16))[random.integers(10, size=200)]
                        + 0.1 * random.normal(size=(200, 16)))  # fmt: skip
    scores = np.sort(random.random(200).astype(np.float32))[::-1]

    def alike(diversity):
        first = vectors[spread(scores, vectors, diversity)[:10]]
        return float(np.triu(first @ first.T, 1).max())

    assert alike(0.0) > alike(0.5) >= alike(1.0)
    assert alike(1.0) < 0.9  # one of each of the ten groups


def test_one_hit_and_none_can_be_spread():
    nothing = np.empty((0, 4), np.float32)
    assert spread(np.empty(0, np.float32), nothing, 0.7).tolist() == []
    assert spread(np.ones(1, np.float32), np.ones((1, 4), np.float32), 0.7).tolist() == [0]
