from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embeddings import measures
from embeddings.measures import Pairs, Ranked
from embeddings.vectors import normalise


def ranked(*queries: dict[int, float]) -> Ranked:
    """Return what is known of each query: {rank: grade, ...}, the rank 0 meaning not found."""
    rows = [
        (row, rank or np.inf, grade)
        for row, query in enumerate(queries)
        for rank, grade in query.items()
    ]
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    return Ranked(len(queries), columns[0].astype(int), columns[1].astype(float), columns[2])


def pairs(*rows: tuple[int, int]) -> Pairs:
    queries, ids = np.array(rows, dtype=np.int64).reshape(-1, 2).T
    return Pairs(queries, ids, np.ones(len(rows)))


def test_the_measures_are_those_of_the_textbook():
    # By hand: two relevant at ranks 1 and 4, one at rank 7, one that is not found.
    answers = ranked({1: 1, 4: 1}, {7: 1}, {0: 1})
    assert measures.recall_at_k(answers, 1).tolist() == [0.5, 0, 0]
    assert measures.recall_at_k(answers, 5).tolist() == [1, 0, 0]
    assert measures.recall_at_k(answers, 10).tolist() == [1, 1, 0]
    assert measures.precision_at_k(answers, 5).tolist() == [0.4, 0, 0]
    assert measures.success_at_k(answers, 1).tolist() == [1, 0, 0]
    assert measures.success_at_k(answers, 10).tolist() == [1, 1, 0]
    assert measures.reciprocal_ranks(answers) == pytest.approx([1, 1 / 7, 0])
    assert measures.first_ranks(answers).tolist() == [1, 7, np.inf]
    assert measures.median_rank(answers) == 7


def test_ndcg_weighs_grades_by_rank():
    # Grades 3, 2, 1 found at ranks 1, 4 and 2; the best order is 3, 2, 1.
    answers = ranked({1: 3, 4: 2, 2: 1})
    gained = 3 + 1 / np.log2(3) + 2 / np.log2(5)
    possible = 3 + 2 / np.log2(3) + 1 / 2
    assert measures.ndcg_at_k(answers, 10) == pytest.approx([gained / possible])
    assert measures.ndcg_at_k(ranked({1: 3, 3: 1, 2: 2}), 10) == pytest.approx([1.0])
    # Cut at 2, the ideal is cut as well.
    assert measures.ndcg_at_k(ranked({1: 1, 2: 1, 3: 1}), 2) == pytest.approx([1.0])


def test_what_is_not_found_gains_nothing():
    assert measures.ndcg_at_k(ranked({0: 5}), 10).tolist() == [0.0]


def test_the_median_rank_of_queries_that_find_nothing_is_infinite():
    assert measures.median_rank(ranked({0: 1}, {0: 1}, {3: 1})) == np.inf


@given(st.integers(0, 2**32 - 1), st.integers(1, 7), st.integers(1, 40), st.integers(1, 50))
def test_ranking_in_blocks_is_counting_who_scores_no_less(seed, query_count, n, block):
    random = np.random.default_rng(seed)
    # Whole numbers: their products are exact, and many tie.
    queries = random.integers(-3, 4, (query_count, 5)).astype(np.float32)
    vectors = random.integers(-3, 4, (n, 5)).astype(np.float32)
    ids = np.sort(random.choice(1000, n, replace=False)).astype(np.int64)
    is_relevant = random.random((query_count, n)) < 0.3
    is_relevant[:, 0] = True
    rows, columns = np.nonzero(is_relevant)

    def true_rank(row, column):
        scores = queries[row] @ vectors.T
        others_ahead = (scores >= scores[column]) & ~is_relevant[row]
        relevant_ahead = (scores > scores[column]) & is_relevant[row]
        tied_before = ((scores == scores[column]) & is_relevant[row])[:column]
        return 1 + others_ahead.sum() + relevant_ahead.sum() + tied_before.sum()

    def blocks():
        for start in range(0, n, block):
            yield ids[start : start + block], vectors[start : start + block]

    found = measures.rank(queries, Pairs(rows, ids[columns], np.ones(len(rows))), blocks)
    assert found.ranks.tolist() == [true_rank(*pair) for pair in zip(rows, columns, strict=True)]


def test_many_queries_and_many_relevant_are_compared_in_parts(monkeypatch):
    random = np.random.default_rng(0)
    queries = normalise(random.normal(size=(50, 8)))
    vectors = normalise(random.normal(size=(90, 8)))
    rows, columns = np.nonzero(random.random((50, 90)) < 0.4)
    wanted = Pairs(rows, columns, np.ones(len(rows)))

    def blocks():
        return [(np.arange(90), vectors)]

    at_once = measures.rank(queries, wanted, blocks).ranks
    monkeypatch.setattr(measures, "QUERIES_AT_ONCE", 7)
    monkeypatch.setattr(measures, "PAIRS_AT_ONCE", 11)
    assert measures.rank(queries, wanted, blocks).ranks.tolist() == at_once.tolist()


def test_who_gives_all_images_one_vector_finds_nothing():
    same = normalise(np.ones((100, 4)))
    found = measures.rank(same[:1], pairs((0, 17)), lambda: [(np.arange(100), same)])
    assert found.ranks.tolist() == [100]


def test_relevant_ones_that_tie_share_the_first_places():
    same = normalise(np.ones((2, 4)))
    found = measures.rank(same[:1], pairs((0, 0), (0, 1)), lambda: [(np.arange(2), same)])
    assert sorted(found.ranks.tolist()) == [1, 2]


def test_a_relevant_image_that_is_no_candidate_is_not_found():
    vectors = normalise(np.eye(3))
    found = measures.rank(vectors[:1], pairs((0, 0), (0, 9)), lambda: [(np.arange(3), vectors)])
    assert found.ranks.tolist() == [1, np.inf]


def test_ranks_in_answers_that_end_somewhere():
    hits = [np.array([5, 3, 8]), np.array([], dtype=np.int64)]
    found = measures.rank_in_hits(pairs((0, 3), (0, 4), (1, 5)), hits)
    assert (found.count, found.ranks.tolist()) == (2, [2, np.inf, np.inf])


def test_neighbour_recall_is_the_share_of_the_true_ones():
    true = np.array([0.9, 0.8, 0.7, 0.6], dtype=np.float32)
    assert measures.neighbour_recall(true, true) == 1.0
    assert measures.neighbour_recall(np.array([0.9, 0.7, 0.5, 0.4]), true) == 0.5
    assert measures.neighbour_recall(np.array([0.9, 0.8]), true) == 0.5
    assert measures.neighbour_recall(np.array([]), np.array([])) == 1.0


def test_the_interval_holds_the_mean_narrows_with_more_queries_and_follows_the_seed():
    coins = (np.random.default_rng(0).random(2000) < 0.7).astype(float)
    low, high = measures.interval(coins, seed=1)
    assert low < coins.mean() < high
    # The standard error of a share: sqrt(0.7 * 0.3 / 2000), times 2 * 1.96.
    assert high - low == pytest.approx(0.0402, rel=0.15)
    assert measures.interval(coins, seed=1) == (low, high)
    assert measures.interval(coins, seed=2) != (low, high)
    wide = measures.interval(coins[:50], seed=1)
    assert wide[1] - wide[0] > high - low


def test_measures_of_certainty_have_no_width():
    assert measures.interval(np.ones(30), seed=0) == (1.0, 1.0)
