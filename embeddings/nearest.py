"""nearest(): the subjects of a vector table whose vectors lie nearest to a query.

The index only proposes. Each candidate is looked up in Postgres, under the caller's queryset,
before it is returned, and where candidates are missing the exact answer of Postgres is given.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from django.conf import settings
from django.db import connection
from django.db.models import QuerySet

from embeddings import feed, live
from embeddings.errors import VectorInvalid
from embeddings.indexes.contract import Candidates, IdSet
from embeddings.live import View
from embeddings.models import AbstractEmbedding, Space
from embeddings.streams import halfvec_text, ids_statement, read_ids
from embeddings.vectors import Neighbours, Plan, Route, Step, Vector, normalise

MAX_K = 10_000
OVER_FETCH = 2  # times k, where a filter will drop some
SPARE = 8  # more, for rows that vanish between the index and Postgres


def nearest(
    model: type[AbstractEmbedding],
    space: Space,
    vector: Vector,
    *,
    k: int = 24,
    within: QuerySet[Any] | None = None,
) -> Neighbours:
    """Return the k subjects nearest to a vector, best first, all k if so many exist.

    `vector` is (dimensions,); it is normalised here. `within` is a queryset of subjects: only
    these are returned. Scores are cosine similarities, computed from float16 vectors.
    Raise VectorInvalid for a vector of another width, zero, or not finite.
    """
    search = _Search(model, space, _rounded(vector, space.dimensions), _valid_k(k), within)
    return search.run()


def nearest_exactly(
    model: type[AbstractEmbedding],
    space: Space,
    vector: Vector,
    *,
    k: int = 24,
    within: QuerySet[Any] | None = None,
) -> Neighbours:
    """Return what nearest() returns, by Postgres alone: slower, and the judge of every index."""
    search = _Search(model, space, _rounded(vector, space.dimensions), _valid_k(k), within)
    return search.in_postgres("asked for")


class _Search:
    """One call of nearest(), with the steps it took."""

    def __init__(
        self,
        model: type[AbstractEmbedding],
        space: Space,
        vector: Vector,
        k: int,
        within: QuerySet[Any] | None,
    ) -> None:
        self.model, self.space, self.vector, self.k = model, space, vector, k
        if within is not None and within.query.is_sliced:
            # A slice has an order of its own; as a subquery it keeps it.
            within = within.model._default_manager.filter(pk__in=within.values("pk"))
        self.within = within
        self.steps: list[Step] = []

    def run(self) -> Neighbours:
        if self.within is not None:
            with self.step("count"):
                limit = settings.INDEX_NARROW_FILTER
                is_narrow = self.within.order_by()[: limit + 1].count() <= limit
            if is_narrow:
                return self.in_postgres("narrow filter")
        if feed.has_uncommitted():
            # The index knows nothing of it, and must not learn what may be rolled back.
            return self.in_postgres("in a transaction")
        with self.step("view"):
            view = live.index_of(self.model, self.space).view()
        return self.over_fetched(view) or self.among_ids(view) or self.in_postgres("too few")

    def over_fetched(self, view: View) -> Neighbours | None:
        """Ask for some more than k and keep what the filter lets through, if that is enough.

        The k best of those that pass are the true k: whoever is missing scores less.
        """
        wanted = SPARE + self.k * (OVER_FETCH if self.within is not None else 1)
        with self.step("faiss"):
            found = view.search(self.vector, wanted)
        route = Route.OPEN if self.within is None else Route.OVER_FETCH
        return self.confirmed(route, found, view)

    def among_ids(self, view: View) -> Neighbours | None:
        """Search only the vectors whose ids the filter leaves."""
        if self.within is None:
            return None
        with self.step("ids"):
            among = IdSet(read_ids(self.within))
        with self.step("faiss"):
            found = view.scan(self.vector, SPARE + self.k, among=among)
        return self.confirmed(Route.SCAN, found, view)

    def in_postgres(self, reason: str) -> Neighbours:
        quoted = connection.ops.quote_name
        table = quoted(self.model._meta.db_table)
        column = quoted(self.model.subject_field().column)
        condition, parameters = "", tuple[Any, ...]()
        if self.within is not None:
            inner, parameters = ids_statement(self.within)
            condition = f"AND {column} IN ({inner})"
        text = halfvec_text(self.vector)
        with self.step("postgres"), connection.cursor() as cursor:
            cursor.execute(
                f"SELECT {column}, -(vector <#> %s::halfvec) AS score FROM {table} "
                f"WHERE space_id = %s {condition} ORDER BY score DESC, {column} LIMIT %s",
                [text, self.space.pk, *parameters, self.k],
            )
            rows = cursor.fetchall()
        found = Candidates(
            np.array([row[0] for row in rows], dtype=np.int64),
            np.array([row[1] for row in rows], dtype=np.float32),
        )
        plan = Plan(
            route=Route.POSTGRES, exact=True, reason=reason, candidates=len(rows), steps=self.taken
        )
        return self.answer(found, plan)

    def confirmed(self, route: Route, found: Candidates, view: View) -> Neighbours | None:
        """Keep the candidates that Postgres still has and lets through; None if they are too few.

        Too few may mean that no more exist, or that the index does not know them yet: only
        Postgres can tell, and where few match it does so quickly.
        """
        subject = self.model.subject_field()
        with self.step("check"):
            rows = self.model._default_manager.filter(
                space=self.space, **{f"{subject.attname}__in": found.ids.tolist()}
            )
            if self.within is not None:
                rows = rows.filter(**{f"{subject.name}__in": self.within.order_by().values("pk")})
            stays = np.isin(found.ids, read_ids(rows, subject.attname))
        if np.count_nonzero(stays) < self.k:
            return None
        kept = Candidates(found.ids[stays], found.scores[stays])
        is_exact = view.scan_is_exact if route == Route.SCAN else view.is_exact
        plan = Plan(
            route=route,
            exact=is_exact,
            recall=None if is_exact else view.recall,
            index=view.title,
            candidates=len(found.ids),
            steps=self.taken,
        )
        return self.answer(kept, plan)

    def answer(self, found: Candidates, plan: Plan) -> Neighbours:
        return Neighbours(found.ids[: self.k], found.scores[: self.k], plan)

    @property
    def taken(self) -> tuple[Step, ...]:
        return tuple(self.steps)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.steps.append(Step(name, (time.perf_counter() - started) * 1000))


def _rounded(vector: Vector, dimensions: int) -> Vector:
    if vector.shape != (dimensions,):
        raise VectorInvalid(f"A vector of shape {vector.shape} was given; ({dimensions},) is due.")
    # Rounded as the stored ones are, so that every route computes the same scores.
    return normalise(vector).astype(np.float16).astype(np.float32)


def _valid_k(k: int) -> int:
    if not 1 <= k <= MAX_K:
        raise ValueError(f"k must be from 1 to {MAX_K}")
    return k
