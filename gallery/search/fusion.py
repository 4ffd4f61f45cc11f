"""Several ranked lists become one. Knows arrays only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from embeddings.vectors import Ids, Scores

RANK_OFFSET = 60


class RankedList(NamedTuple):
    """Images best first, (n,) each."""

    ids: Ids
    scores: Scores
    bands: NDArray[np.uint8]

    def first(self, n: int) -> RankedList:
        return RankedList(self.ids[:n], self.scores[:n], self.bands[:n])


def reciprocal_rank(lists: Sequence[RankedList], weights: Sequence[float]) -> RankedList:
    """Return the lists fused: an image scores the sum of weight / (60 + rank).

    Reciprocal rank fusion of Cormack, Clarke and Büttcher (SIGIR 2009), weighted. Equal scores by
    ascending id. An image's band is its best one.
    """
    return _joined(
        lists,
        [
            weight / (RANK_OFFSET + np.arange(1, len(some.ids) + 1))
            for some, weight in zip(lists, weights, strict=True)
        ],
        np.add,
    )


def greatest(lists: Sequence[RankedList], weights: Sequence[float]) -> RankedList:
    """Return the images by the greatest of their weighted scores.

    The first k are the true first k of that order if every list has its own first k: whoever is
    missing from the list of its greatest score has k images before it there. Weights are positive.
    """
    return _joined(
        lists,
        [weight * some.scores for some, weight in zip(lists, weights, strict=True)],
        np.maximum,
    )


def ranks_in(some: RankedList, ids: Ids) -> NDArray[np.int32]:
    """Return the place of each id in a list, first is 1; 0 where it is not in it."""
    if not len(some.ids):
        return np.zeros(len(ids), np.int32)
    order = np.argsort(some.ids)
    places = np.minimum(np.searchsorted(some.ids, ids, sorter=order), len(order) - 1)
    ranks = order[places]
    return np.where(some.ids[ranks] == ids, ranks + 1, 0).astype(np.int32)


def _joined(
    lists: Sequence[RankedList], values: Sequence[NDArray[np.floating]], join: np.ufunc
) -> RankedList:
    ids, owner = np.unique(np.concatenate([some.ids for some in lists]), return_inverse=True)
    scores = np.full(len(ids), 0.0 if join is np.add else -np.inf)
    join.at(scores, owner, np.concatenate(values))
    bands = np.full(len(ids), np.iinfo(np.uint8).max, dtype=np.uint8)
    np.minimum.at(bands, owner, np.concatenate([some.bands for some in lists]))
    order = np.lexsort((ids, -scores))
    return RankedList(ids[order], scores[order].astype(np.float32), bands[order])
