"""Scores of many images for many auto tags: one matrix product."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from embeddings.vectors import Vectors


class Scorer:
    """Scores images for some auto tags; each has a vector or more, (prompts, d)."""

    def __init__(self, vectors: Sequence[Vectors]) -> None:
        self._vectors = np.concatenate(vectors).T
        self._starts = np.cumsum([0, *(len(one) for one in vectors[:-1])])

    def scores(self, vectors: Vectors) -> NDArray[np.float32]:
        """Return the scores of images, (n, auto tags): of each the best of its prompts."""
        return np.maximum.reduceat(vectors @ self._vectors, self._starts, axis=1)
