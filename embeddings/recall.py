"""recall@10 of an index against exact search, measured while it is built."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from embeddings.indexes.contract import Candidates, ExactIndex, VectorIndex, join
from embeddings.models import AbstractEmbedding, Space
from embeddings.streams import read_ids, read_vectors
from embeddings.vectors import Ids, Vectors, normalise

K = 10
QUERIES = 64
NOISE = 0.3  # length of the step away from the data: a query is near the vectors, not one of them


def probe_queries(model: type[AbstractEmbedding], space: Space) -> Vectors:
    """Return up to QUERIES vectors (n, dimensions) near random ones of the space."""
    some = model._default_manager.filter(space=space).order_by("?")[:QUERIES]
    chosen = model._default_manager.filter(pk__in=some.values("pk"))
    ids = read_ids(chosen, model.subject_field().attname)
    _, vectors = read_vectors(model, space, only=ids)
    noise = np.random.default_rng(0).normal(size=vectors.shape)
    return normalise(vectors + NOISE * noise / max(1.0, space.dimensions**0.5))


class RecallProbe:
    """Keeps the true nearest of its queries among all vectors that went by."""

    def __init__(self, queries: Vectors) -> None:
        self._queries = queries
        nothing = Candidates(np.empty(0, np.int64), np.empty(0, np.float32))
        self._nearest = [nothing] * len(queries)

    def watch(self, parts: Iterator[tuple[Ids, Vectors]]) -> Iterator[tuple[Ids, Vectors]]:
        for ids, vectors in parts:
            exact = ExactIndex(ids, vectors)
            self._nearest = [
                join(so_far, exact.search(query, K), K)
                for query, so_far in zip(self._queries, self._nearest, strict=True)
            ]
            yield ids, vectors

    def recall_of(self, index: VectorIndex) -> float:
        """Return the share of the true neighbours that the index finds; 1.0 of an empty one."""
        found = wanted = 0
        for query, nearest in zip(self._queries, self._nearest, strict=True):
            found += len(np.intersect1d(index.search(query, K).ids, nearest.ids))
            wanted += len(nearest.ids)
        return found / wanted if wanted else 1.0
