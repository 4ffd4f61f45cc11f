"""nearest(): the subjects of a vector table whose vectors lie nearest to a query.

The index only proposes. Each candidate is looked up in Postgres, under the caller's queryset,
before it is returned, and there it gets its score; where candidates are missing, the exact answer
of Postgres is given.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from django.db.models import QuerySet

from embeddings.errors import VectorInvalid
from embeddings.models import AbstractEmbedding, Space
from embeddings.nearest.planner import Search
from embeddings.nearest.statements import Statements
from embeddings.subqueries import Subquery
from embeddings.vectors import Neighbours, Route, Vector, normalise

MAX_K = 100_000

__all__ = ["MAX_K", "nearest", "nearest_exactly"]


def nearest(
    model: type[AbstractEmbedding],
    space: Space,
    vector: Vector,
    *,
    k: int = 24,
    within: QuerySet[Any] | None = None,
    route: Route | None = None,
) -> Neighbours:
    """Return the k subjects nearest to a vector, best first, all k if so many exist.

    `vector` is (dimensions,); it is normalised here. `within` is a queryset of subjects: only
    these are returned. Scores are cosine similarities of float16 vectors, and equal ones come by
    ascending id. Of a vector that was replaced a moment ago (see live.LiveIndex.view) the score
    may be that of the older one. `route` is for measuring: it is taken unless k would not
    come back by it, and the plan's reason says so.

    Raise VectorInvalid for a vector of another width, zero, or not finite, ValueError for a k out
    of range, TypeError for a queryset that is no filter of these subjects.
    """
    rounded = _rounded(vector, space.dimensions)
    k = _checked_k(k)
    subject = model.subject_field().target_field.model
    filter_ = None if within is None else Subquery.of(within, subject)
    statements = Statements(model, space, rounded, filter_)
    return Search(statements, k).run(route)


def nearest_exactly(
    model: type[AbstractEmbedding],
    space: Space,
    vector: Vector,
    *,
    k: int = 24,
    within: QuerySet[Any] | None = None,
) -> Neighbours:
    """Return what nearest() returns, by Postgres alone: slower, and the judge of every index."""
    return nearest(model, space, vector, k=k, within=within, route=Route.POSTGRES)


def _checked_k(k: int) -> int:
    try:
        whole = operator.index(k)
    except TypeError:
        whole = 0
    if not 1 <= whole <= MAX_K:
        raise ValueError(f"k must be a whole number from 1 to {MAX_K:,}; it is {k!r}.")
    return whole


def _rounded(vector: Vector, dimensions: int) -> Vector:
    if np.shape(vector) != (dimensions,):
        raise VectorInvalid(
            f"A vector of shape {np.shape(vector)} was given; ({dimensions},) is due."
        )
    # Rounded as the stored ones are, so that every route computes the same scores.
    return normalise(vector).astype(np.float16).astype(np.float32)
