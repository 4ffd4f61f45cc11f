"""Measures of retrieval: how good a ranking is, one figure a query.

Each measure takes `Ranked`, the ranks of everything that is relevant, and returns an array (q,) in
the order of the queries; its mean is what one reports, and `interval()` says how sure the mean is.
What they are called and how they treat grades follows TREC (trec_eval); the sources are named at
each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embeddings.vectors import Ids, Scores, Vectors

Figures = NDArray[np.float64]  # (q,), one a query
Rows = NDArray[np.int64]  # (p,), row of a query
Blocks = Callable[[], Iterable[tuple[Ids, Vectors]]]  # ids of each block ascending

# Two dot products of the same vectors may differ in their last bits.
TIE = 1e-6
# A block of 16,384 candidates is then compared in 8 MB.
QUERIES_AT_ONCE = 128
PAIRS_AT_ONCE = 256


@dataclass(frozen=True)
class Pairs:
    """Which candidates are relevant to which queries, and how much: one row a pair."""

    queries: Rows  # (p,), ascending
    ids: Ids  # (p,), candidates; no pair twice
    grades: Figures  # (p,), above zero; 1.0 where there are no grades

    def __len__(self) -> int:
        return len(self.queries)


@dataclass(frozen=True)
class Ranked:
    """The rank of everything that is relevant, in the rows of the pairs it was asked for."""

    count: int  # of queries; each has at least one pair
    queries: Rows  # (p,), row of the query
    ranks: Figures  # (p,), first is 1; infinity: not found
    grades: Figures  # (p,)


def rank(queries: Vectors, pairs: Pairs, blocks: Blocks) -> Ranked:
    """Rank what is relevant among all candidates by cosine similarity, exactly.

    `queries` is (q, dimensions). `blocks` yields the candidates each time it is called, which is
    twice; memory holds one block. A candidate that scores the same as a relevant one is ranked
    before it: who gives all images one vector finds nothing. A relevant one that is no candidate
    has rank infinity.
    """
    ranking = _Ranking(queries, pairs)
    for ids, vectors in blocks():
        ranking.find(ids, vectors)
    for ids, vectors in blocks():
        ranking.compare(ids, vectors)
    best_first = np.lexsort((-ranking.own, pairs.queries))
    first_of_query = np.searchsorted(pairs.queries, pairs.queries)
    place = np.empty(len(pairs), np.int64)
    place[best_first] = np.arange(len(pairs))
    ranks = (1 + place - first_of_query + ranking.ahead).astype(np.float64)
    ranks[np.isneginf(ranking.own)] = np.inf
    return Ranked(len(queries), pairs.queries, ranks, pairs.grades)


def rank_in_hits(pairs: Pairs, hits: Iterable[Ids]) -> Ranked:
    """Rank what is relevant in answers that end somewhere: the ids of each query's hits."""
    ranks = np.full(len(pairs), np.inf)
    count = 0
    for ids in hits:
        start, end = np.searchsorted(pairs.queries, [count, count + 1])
        rank_by_id = {id_: place for place, id_ in enumerate(ids.tolist(), start=1)}
        ranks[start:end] = [rank_by_id.get(id_, np.inf) for id_ in pairs.ids[start:end].tolist()]
        count += 1
    return Ranked(count, pairs.queries, ranks, pairs.grades)


def recall_at_k(ranked: Ranked, k: int) -> Figures:
    """Return the share of what is relevant that is among the first k.

    With more than k relevant candidates it cannot reach 1.0.
    """
    return _sums(ranked, ranked.ranks <= k) / _sums(ranked, np.ones(len(ranked.ranks)))


def precision_at_k(ranked: Ranked, k: int) -> Figures:
    """Return the share of the first k that is relevant."""
    return _sums(ranked, ranked.ranks <= k) / k


def success_at_k(ranked: Ranked, k: int) -> Figures:
    """Return 1.0 where anything relevant is among the first k, else 0.0: top-k accuracy.

    Papers on captions call its mean "R@k" where an image has several captions (Karpathy and
    Fei-Fei 2015, "Deep visual-semantic alignments for generating image descriptions").
    """
    return (first_ranks(ranked) <= k).astype(np.float64)


def reciprocal_ranks(ranked: Ranked) -> Figures:
    """Return 1 / rank of the first that is relevant, 0.0 if none is found; its mean is MRR.

    Voorhees 1999, "The TREC-8 question answering track report".
    """
    return 1 / first_ranks(ranked)


def ndcg_at_k(ranked: Ranked, k: int) -> Figures:
    """Return the discounted cumulative gain of the first k, over the best that was possible.

    The gain is the grade itself and the discount log2(1 + rank), as trec_eval has it. Jarvelin and
    Kekalainen 2002, "Cumulated gain-based evaluation of IR techniques".
    """
    order = np.lexsort((-ranked.grades, ranked.queries))
    ideal_ranks = np.empty(len(order))
    ideal_ranks[order] = 1 + np.arange(len(order)) - np.searchsorted(ranked.queries, ranked.queries)
    return _gains(ranked, ranked.ranks, k) / _gains(ranked, ideal_ranks, k)


def first_ranks(ranked: Ranked) -> Figures:
    """Return the rank of the first that is relevant; infinity where none is found."""
    firsts = np.full(ranked.count, np.inf)
    np.minimum.at(firsts, ranked.queries, ranked.ranks)
    return firsts


def median_rank(ranked: Ranked) -> float:
    """Return the rank within which half of the queries have found something (the lower median)."""
    ranks = np.sort(first_ranks(ranked))
    return float(ranks[(len(ranks) - 1) // 2])


def neighbour_recall(found: Scores, true: Scores) -> float:
    """Return the share of the true nearest neighbours that an index found; 1.0 of none.

    Both are cosine similarities, best first, computed alike. recall@k as in ann-benchmarks
    (Aumueller, Bernhardsson and Faithfull 2020): who is as near as the last true neighbour is one,
    whichever of several alike it is.
    """
    if not len(true):
        return 1.0
    return float(np.count_nonzero(found[: len(true)] >= true[-1] - TIE) / len(true))


def interval(figures: Figures, *, seed: int, rounds: int = 1000) -> tuple[float, float]:
    """Return where 95 % of the means lie that other queries of the same kind would give.

    The percentile bootstrap (Efron 1979, "Bootstrap methods: another look at the jackknife"),
    the same for the same seed.
    """
    random = np.random.default_rng(seed)
    n = len(figures)
    means = [figures[random.integers(0, n, n)].mean() for _ in range(rounds)]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


class _Ranking:
    """Counts, block by block, who ranks before each relevant candidate."""

    def __init__(self, queries: Vectors, pairs: Pairs) -> None:
        self.queries, self.pairs = queries, pairs
        self.own = np.full(len(pairs), -np.inf, np.float32)  # (p,), minus infinity: no candidate
        self.ahead = np.zeros(len(pairs), np.int64)  # (p,), not relevant, and score no less

    def find(self, ids: Ids, vectors: Vectors) -> None:
        """Take the scores of the relevant candidates of a block."""
        columns = _columns(self.pairs.ids, ids)
        for part in _parts(np.flatnonzero(columns >= 0)):
            self.own[part] = np.einsum(
                "pd,pd->p", self.queries[self.pairs.queries[part]], vectors[columns[part]]
            )

    def compare(self, ids: Ids, vectors: Vectors) -> None:
        """Count the candidates of a block; all of the relevant ones have been found."""
        columns = _columns(self.pairs.ids, ids)
        for start in range(0, len(self.queries), QUERIES_AT_ONCE):
            first, last = np.searchsorted(self.pairs.queries, [start, start + QUERIES_AT_ONCE])
            rows = self.pairs.queries - start
            scores = self.queries[start : start + QUERIES_AT_ONCE] @ vectors.T
            here = first + np.flatnonzero(columns[first:last] >= 0)
            scores[rows[here], columns[here]] = -np.inf
            for part in _parts(np.arange(first, last)):
                beaten = scores[rows[part]] >= self.own[part, None] - TIE
                self.ahead[part] += np.count_nonzero(beaten, axis=1)


def _columns(wanted: Ids, ids: Ids) -> Ids:
    """Return where each of `wanted` is in ascending `ids`, -1 where it is not."""
    if not len(ids):
        return np.full(len(wanted), -1)
    places = np.minimum(np.searchsorted(ids, wanted), len(ids) - 1)
    return np.where(ids[places] == wanted, places, -1).astype(np.int64)


def _parts(rows: Rows) -> Iterator[Rows]:
    for start in range(0, len(rows), PAIRS_AT_ONCE):
        yield rows[start : start + PAIRS_AT_ONCE]


def _gains(ranked: Ranked, ranks: Figures, k: int) -> Figures:
    return _sums(ranked, np.where(ranks <= k, ranked.grades / np.log2(1 + ranks), 0.0))


def _sums(ranked: Ranked, values: NDArray[np.generic]) -> Figures:
    return np.bincount(ranked.queries, values, minlength=ranked.count).astype(np.float64)
