"""What an index is, and its simplest honest implementation."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from embeddings.vectors import Ids, Scores, Vector, Vectors

Mask = NDArray[np.bool_]  # (n,), one truth value a vector of the index, in its order


class Candidates(NamedTuple):
    """Ids and their scores, best first."""

    ids: Ids
    scores: Scores


class VectorIndex(Protocol):
    """Finds the vectors nearest to a query. Never changes once it is made."""

    @property
    def ids(self) -> Ids:
        """Ids of the vectors, ascending."""
        ...

    def search(self, query: Vector, k: int, *, allowed: Mask | None = None) -> Candidates:
        """Return at most k of the (allowed) vectors by cosine similarity, best first."""
        ...


class ExactIndex:
    """Compares the query with every vector in numpy. Always right, and quick while it is small."""

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

    def without(self, ids: Ids) -> ExactIndex:
        """Return this index less some ids."""
        stays = ~np.isin(self.ids, ids)
        return ExactIndex(self.ids[stays], self.vectors[stays])

    def joined_by(self, ids: Ids, vectors: Vectors) -> ExactIndex:
        """Return this index with further vectors, whose ids are new to it."""
        if not len(self):
            return ExactIndex(ids, vectors)
        all_ids = np.concatenate([self.ids, ids])
        order = np.argsort(all_ids)
        return ExactIndex(all_ids[order], np.concatenate([self.vectors, vectors])[order])


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
