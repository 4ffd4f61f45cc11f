"""Vectors to measure with: clustered, and queries that lie away from them, as texts do.

Images come in subjects: one centre for a hundred vectors, and around it noise of 0.9 of the
centre's length, so two images of a subject have a cosine of about 0.55. A text lies beside the
images it describes, not among them: a query is one of the vectors and a step of length 1 in a
random direction. Everything is drawn from the seeds that are given.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

DIMENSIONS = 512
K = 10

A_CENTRE = 100  # vectors around one centre
SPREAD = 0.9  # length of the noise around a centre of length 1
STEP = 1.0  # from a vector to a query
BLOCK = 50_000

WORDS = (
    *("red", "blue", "boat", "house", "sea", "night"),
    *("moon", "cat", "tree", "car", "two", "snow"),
)  # of texts that are searched for

Float16s = NDArray[np.float16]
Float32s = NDArray[np.float32]


def clustered(n: int, *, seed: int) -> Float16s:
    """Return (n, DIMENSIONS) of unit length, rounded to float16 as Postgres holds them."""
    random = np.random.default_rng(seed)
    centres = _unit(random.standard_normal((max(16, n // A_CENTRE), DIMENSIONS), np.float32))
    vectors = np.empty((n, DIMENSIONS), np.float16)
    for start in range(0, n, BLOCK):
        size = min(BLOCK, n - start)
        noise = random.standard_normal((size, DIMENSIONS), np.float32)
        chosen = centres[random.integers(len(centres), size=size)]
        vectors[start : start + size] = _unit(chosen + noise * _a_component(SPREAD))
    return vectors


def text_like(vectors: Float16s, n: int, *, seed: int) -> Float32s:
    """Return (n, DIMENSIONS) queries: vectors of the data and a step away from it."""
    random = np.random.default_rng(seed)
    start = vectors[random.integers(len(vectors), size=n)].astype(np.float32)
    steps = random.standard_normal((n, DIMENSIONS), np.float32)
    queries = _unit(start + steps * _a_component(STEP))
    return queries.astype(np.float16).astype(np.float32)


def true_nearest(
    vectors: Float16s, queries: Float32s, k: int = K, *, allowed: NDArray[np.bool_] | None = None
) -> NDArray[np.int64]:
    """Return (n, k) places of the vectors with the largest products, best first."""
    scores = np.full((len(queries), k), -np.inf, np.float32)
    places = np.zeros((len(queries), k), np.int64)
    for start in range(0, len(vectors), BLOCK):
        here = queries @ vectors[start : start + BLOCK].astype(np.float32).T
        if allowed is not None:
            here[:, ~allowed[start : start + BLOCK]] = -np.inf
        best = np.argpartition(-here, min(k, here.shape[1]) - 1, axis=1)[:, :k]
        all_scores = np.hstack([scores, np.take_along_axis(here, best, 1)])
        all_places = np.hstack([places, best + start])
        order = np.argsort(-all_scores, axis=1)[:, :k]
        scores = np.take_along_axis(all_scores, order, 1)
        places = np.take_along_axis(all_places, order, 1)
    return places


def recall(found: list[Any], true: NDArray[np.int64]) -> float:
    """Return the share of the true ones among those found, over all queries."""
    hits = sum(len(np.intersect1d(ours, theirs)) for ours, theirs in zip(found, true, strict=True))
    return hits / true.size


def _a_component(length: float) -> np.float32:
    """Return the deviation a component has in random vectors of about this length."""
    return np.float32(length / DIMENSIONS**0.5)


def _unit(vectors: Float32s) -> Float32s:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)
