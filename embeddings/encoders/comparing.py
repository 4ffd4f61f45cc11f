"""Two ways of computing the same vectors, compared: do they say the same, and which is quicker."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

import numpy as np

from embeddings import measures
from embeddings.encoders.contract import Encoder
from embeddings.encoders.framing import Frames
from embeddings.measures import Pairs
from embeddings.vectors import Scores, Vectors

K = 10

Item = TypeVar("Item")


@dataclass(frozen=True)
class Both:
    """The vectors of the same things in float32 and in another precision, and what each took."""

    float32: Vectors
    other: Vectors
    milliseconds_float32: float
    milliseconds: float

    @property
    def cosines(self) -> Scores:
        return cosines(self.float32, self.other)


def cosines(some: Vectors, others: Vectors) -> Scores:
    """Return the cosine of each vector with its fellow, (n,)."""
    return np.asarray((some * others).sum(axis=1))


def encode_frames(
    float32: Encoder, other: Encoder, frames: Sequence[Frames], *, at_once: int
) -> Both:
    """Encode images in batches, both ways."""
    return _encode(float32.encode_frames, other.encode_frames, frames, at_once=at_once)


def encode_texts(float32: Encoder, other: Encoder, texts: Sequence[str]) -> Both:
    """Encode texts one by one, as queries are, both ways."""
    return _encode(float32.encode_texts, other.encode_texts, texts, at_once=1)


def overlap(
    queries: tuple[Vectors, Vectors], among: tuple[Vectors, Vectors], *, itself: bool = False
) -> float:
    """Return the share of the K nearest in float32 that the other way finds, too.

    Each pair is in float32 and the other way: queries (q, d) and what is searched, (n, d).
    `itself`: the n-th query is the n-th of what is searched, which is no neighbour of its own. One
    as near as the K-th is a neighbour, whichever of several alike it is.
    """
    true, found = (q @ a.T for q, a in zip(queries, among, strict=True))
    if itself:
        for scores in (true, found):
            np.fill_diagonal(scores, -np.inf)
    k = min(K, true.shape[1] - itself)
    least = np.partition(true, -k, axis=1)[:, -k]
    nearest = np.argpartition(found, -k, axis=1)[:, -k:]
    right = np.take_along_axis(true, nearest, axis=1) >= least[:, None] - measures.TIE
    return float(right.mean())


def recall(queries: Vectors, images: Vectors, captions: Sequence[tuple[int, int]]) -> float | None:
    """Return the share of images among the K nearest of what was said of them; None of no captions.

    `captions` are pairs of a row of `queries` and one of `images`.
    """
    if not captions:
        return None
    pairs = np.unique(np.array(captions, np.int64), axis=0)
    asked, rows = np.unique(pairs[:, 0], return_inverse=True)
    wanted = Pairs(rows, pairs[:, 1], np.ones(len(pairs)))
    ranked = measures.rank(queries[asked], wanted, lambda: [(np.arange(len(images)), images)])
    return float(measures.recall_at_k(ranked, K).mean())


def _encode(
    float32: Callable[[list[Item]], Vectors],
    other: Callable[[list[Item]], Vectors],
    items: Sequence[Item],
    *,
    at_once: int,
) -> Both:
    """Do it in turn, so that what else the machine does hits both."""
    ways = (float32, other)
    vectors: tuple[list[Vectors], list[Vectors]] = ([], [])
    milliseconds: tuple[list[float], list[float]] = ([], [])
    for start in range(0, len(items), at_once):
        batch = list(items[start : start + at_once])
        for way, made, taken in zip(ways, vectors, milliseconds, strict=True):
            started = time.perf_counter()
            made.append(way(batch))
            taken.append((time.perf_counter() - started) * 1000 / len(batch))
    # The first batch opens and warms up; the last may be a short one.
    medians = [median(taken[1:-1] or taken) for taken in milliseconds]
    return Both(np.concatenate(vectors[0]), np.concatenate(vectors[1]), medians[0], medians[1])
