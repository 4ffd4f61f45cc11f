"""What an index is, and its simplest honest implementation."""

from __future__ import annotations

import weakref
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from embeddings.vectors import Ids, Scores, Vector, Vectors

SPARE = 8  # candidates more than k, for rows that vanish between the index and Postgres
OVER_FETCH = 2  # times k, where a filter will drop some or stored vectors are coarse

Mask = NDArray[np.bool_]  # (n,), one truth value a vector of the index, in its order


class Candidates(NamedTuple):
    """Ids and their scores, best first."""

    ids: Ids
    scores: Scores


class IdSet:
    """Some ids, and for each index they were asked of the mask that selects them there.

    Never changes, but for the masks it remembers: a cached filter pays for its mask once.
    """

    def __init__(self, ids: Ids) -> None:
        self.ids = ids  # ascending
        self._masks: dict[int, tuple[weakref.ref[Ids], Mask]] = {}

    def __len__(self) -> int:
        return len(self.ids)

    def mask_over(self, ids: Ids) -> Mask:
        """Return for each of ascending `ids` whether it is in the set."""
        known = self._masks.get(id(ids))
        if known is not None and known[0]() is ids:  # else another array at the same address
            return known[1]
        mask = mask_of(self.ids, ids)
        alive = {key: pair for key, pair in self._masks.copy().items() if pair[0]() is not None}
        self._masks = {**alive, id(ids): (weakref.ref(ids), mask)}
        return mask


def candidates_of(k: int, *, scored: bool) -> int:
    """Return how many candidates an index is asked for where all of them pass.

    `scored`: its scores are right to float32. Else those of the candidates are computed anew, and
    the k best of more are the true ones more often.
    """
    return SPARE + k * (1 if scored else OVER_FETCH)


class VectorIndex(Protocol):
    """Finds the vectors nearest to a query. Never changes once it is made."""

    @property
    def ids(self) -> Ids:
        """Ids of the vectors, ascending."""
        ...

    @property
    def kind(self) -> str:
        """What it is: "flat", "hnsw", ..."""
        ...

    @property
    def is_exact(self) -> bool:
        """Whether search() compares the query with every vector as Postgres holds it."""
        ...

    @property
    def scan_is_exact(self) -> bool:
        """Whether scan() compares with the vectors as Postgres holds them, or with shorter ones."""
        ...

    def search(self, query: Vector, k: int, *, allowed: Mask | None = None) -> Candidates:
        """Return at most k vectors by cosine similarity, best first; `allowed` drops few."""
        ...

    def scan(self, query: Vector, k: int, *, allowed: Mask | None = None) -> Candidates:
        """Return the k best of all the allowed vectors, however few: none is left out."""
        ...


class ExactIndex:
    """Compares the query with every vector in numpy. Always right, and quick while it is small."""

    kind = "exact"
    is_exact = scan_is_exact = True

    def __init__(self, ids: Ids, vectors: Vectors) -> None:
        self.ids = ids
        self.vectors = vectors

    def __len__(self) -> int:
        return len(self.ids)

    def search(self, query: Vector, k: int, *, allowed: Mask | None = None) -> Candidates:
        ids, vectors = self.ids, self.vectors
        if allowed is not None:
            ids, vectors = ids[allowed], vectors[allowed]
        scores = vectors @ query
        return best(Candidates(ids, scores), k)

    scan = search

    def without(self, ids: Ids) -> ExactIndex:
        """Return this index less some ids."""
        stays = ~np.isin(self.ids, ids)
        return self if stays.all() else ExactIndex(self.ids[stays], self.vectors[stays])

    def joined_by(self, ids: Ids, vectors: Vectors) -> ExactIndex:
        """Return this index with further vectors, whose ids are new to it."""
        if not len(self) or not len(ids):
            return self if len(self) else ExactIndex(ids, vectors)
        all_ids = np.concatenate([self.ids, ids])
        order = np.argsort(all_ids)
        places = np.empty(len(order), np.int64)
        places[order] = np.arange(len(order))
        # Each vector is copied once: a delta of thousands is joined each second.
        joined = np.empty((len(order), vectors.shape[1]), np.float32)
        joined[places[: len(self)]] = self.vectors
        joined[places[len(self) :]] = vectors
        return ExactIndex(all_ids[order], joined)


def best(candidates: Candidates, k: int) -> Candidates:
    """Return the k best of candidates in any order; equal scores by ascending id."""
    ids, scores = candidates
    if len(ids) > k:
        # Whoever ties with the k-th stays in until ids decide.
        threshold = np.partition(scores, len(scores) - k)[len(scores) - k]
        stays = scores >= threshold
        ids, scores = ids[stays], scores[stays]
    order = np.lexsort((ids, -scores))[:k]
    return Candidates(ids[order], np.asarray(scores[order], dtype=np.float32))


def join(first: Candidates, second: Candidates, k: int) -> Candidates:
    """Return the k best of two answers over different ids."""
    return best(
        Candidates(
            np.concatenate([first.ids, second.ids]), np.concatenate([first.scores, second.scores])
        ),
        k,
    )


def mask_of(wanted: Ids, ids: Ids) -> Mask:
    """Return for each of ascending `ids` whether it is among ascending `wanted`."""
    if not len(wanted):
        return np.zeros(len(ids), dtype=np.bool_)
    places = np.searchsorted(wanted, ids)
    places[places == len(wanted)] = 0
    return np.asarray(wanted[places] == ids)
