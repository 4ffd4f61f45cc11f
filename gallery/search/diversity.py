"""Unlike hits first: maximal marginal relevance. Knows arrays only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embeddings.vectors import Scores, Vectors


def spread(scores: Scores, vectors: Vectors, diversity: float) -> NDArray[np.int64]:
    """Return the order, (n,) places, in which each hit is good and unlike those before it.

    Maximal marginal relevance of Carbonell and Goldstein (SIGIR 1998):
    (1 - diversity) * score - diversity * greatest similarity to a hit already taken. Scores are
    stretched to 0..1 first, as similarities are far apart where scores lie close together.
    """
    n = len(scores)
    if not n:
        return np.empty(0, np.int64)
    width = float(np.ptp(scores))
    worth = (1 - diversity) * ((scores - scores.min()) / width if width else np.ones(n))
    cost = diversity * (vectors @ vectors.T)
    dearest = np.full(n, -np.inf)  # cost beside the nearest hit taken
    order = np.empty(n, np.int64)
    taken = int(np.argmax(scores))
    for place in range(n):
        order[place] = taken
        worth[taken] = -np.inf
        np.maximum(dearest, cost[taken], out=dearest)
        taken = int(np.argmax(worth - dearest))
    return order
