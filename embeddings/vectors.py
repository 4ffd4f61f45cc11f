"""The arrays that travel through the plugin: their shapes, units and one check at the border."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from embeddings.errors import VectorInvalid

Vector = NDArray[np.float32]  # (dimensions,), unit length
Vectors = NDArray[np.float32]  # (n, dimensions), every row of unit length
Ids = NDArray[np.int64]  # (n,), primary keys of subjects
Scores = NDArray[np.float32]  # (n,), cosine similarity, 1.0 = same direction


@dataclass(frozen=True)
class Step:
    """One part of the work behind an answer, and what it cost."""

    name: str
    milliseconds: float


class Route(StrEnum):
    """The ways to an answer; nearest() takes the cheapest that returns all k that exist."""

    OPEN = "faiss"  # the index, unfiltered
    OVER_FETCH = "faiss, over-fetched"  # more than k, of which the filter lets enough through
    SCAN = "faiss, among the filtered"  # every vector the filter leaves, in the index's flat copy
    POSTGRES = "postgres"  # exact, over the rows that pass


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How an answer was found."""

    route: Route
    exact: bool
    recall: float | None = None  # of the index, measured: recall@10 against exact; None: exact
    reason: str = ""  # why not the usual route: "narrow filter", "in a transaction", ...
    index: str = ""  # kind and snapshot of the index that was asked
    candidates: int = 0  # looked at in Postgres
    steps: tuple[Step, ...] = ()


class Neighbours(NamedTuple):
    """Nearest subjects, best first."""

    ids: Ids
    scores: Scores
    plan: Plan


def normalise(vectors: NDArray[np.floating]) -> Vectors:
    """Return vectors scaled to length 1, float32, of the same shape (n, d) or (d,).

    Raise VectorInvalid for what holds anything but numbers, and for a vector that is zero or not
    finite: it has no direction.
    """
    try:
        array = np.asarray(vectors, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise VectorInvalid(f"A vector holds something that is no number: {error}") from error
    lengths = np.linalg.norm(array, axis=-1, keepdims=True)
    if not np.isfinite(lengths).all():
        raise VectorInvalid("A vector holds NaN or infinity.")
    if (lengths < 1e-12).any():
        raise VectorInvalid("A vector is zero, so it has no direction.")
    return np.asarray(array / lengths, dtype=np.float32)
