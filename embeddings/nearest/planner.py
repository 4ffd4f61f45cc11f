"""How nearest() chooses its way: the cheapest one that returns all k that exist."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from django.conf import settings

from embeddings import feed, id_sets, live
from embeddings.id_sets import Place
from embeddings.indexes.contract import (
    OVER_FETCH,
    SPARE,
    Candidates,
    IdSet,
    best,
    candidates_of,
)
from embeddings.live import View
from embeddings.nearest import costs, shares
from embeddings.nearest.statements import Statements
from embeddings.subqueries import Subquery
from embeddings.vectors import Ids, Neighbours, Plan, Route, Step

CAUTION = 1.5  # times what the share that passes tells to fetch
WIDE = 0.3  # share that passes: from there on over-fetching beats reading ids on every index
FEW = 2000  # ids: so many are read while they are counted
TIES_AMONG = 1000  # more candidates, when the k-th of them has equals
NO_INDEX = "no current index"
EQUAL = 1e-6  # scores: closer than float32 sums are to one another


class Search:
    """One call of nearest(), with the steps it took."""

    def __init__(self, statements: Statements, k: int) -> None:
        self.statements, self.k = statements, k
        self.steps: list[Step] = []
        self.share = 0.0  # of the candidates that were looked at last: those that passed

    def run(self, route: Route | None) -> Neighbours:
        if route == Route.POSTGRES:
            return self.in_postgres("asked for")
        if feed.keeps_own_state():
            # The index knows nothing of it, and must not learn what may be rolled back.
            return self.in_postgres("in a transaction")
        filter_ = self.statements.filter
        if route is not None:
            found = self.forced(route, filter_)
        elif filter_ is None:
            found = self.unfiltered()
        else:
            found = self.filtered(filter_)
        # Perhaps no more exist, perhaps the index does not know them yet: only Postgres can tell,
        # and where few match it does so quickly.
        return found or self.in_postgres("too few")

    def unfiltered(self) -> Neighbours | None:
        view = self.view()
        if view is None:
            return self.in_postgres(NO_INDEX)
        if self.k >= len(view):
            return self.in_postgres("all of them")
        if self.wanted_of(view) > costs.DEEP and not view.is_exact:
            return self.by_scan(view, None)
        return self.by_index(view, self.wanted_of(view))

    def filtered(self, filter_: Subquery) -> Neighbours | None:
        found = self.by_last_share(filter_) or self.by_ids(filter_)
        if self.share:
            shares.remember(self.guess_key(filter_), self.share)
        return found

    def by_last_share(self, filter_: Subquery) -> Neighbours | None:
        """Over-fetch at once where the filter let most candidates through the last time.

        Most searches are such: their only filter is what the viewer may see.
        """
        share = shares.last(self.guess_key(filter_))
        if share < WIDE or (view := self.view()) is None:
            return None
        wanted = self.over_fetched(share)
        is_shallow = wanted <= (len(view) if view.is_exact else costs.DEEP)
        return self.by_index(view, wanted) if is_shallow else None

    def by_ids(self, filter_: Subquery) -> Neighbours | None:
        """Find out how many pass, and go the way that is cheapest for so many."""
        place = self.looked_up(filter_)
        ids = place.ids if place.ids is not None else self.few_ids(filter_, place)
        if ids is not None and len(ids) <= settings.INDEX_NARROW_FILTER:
            return self.in_postgres("narrow filter", ids.ids)
        if ids is not None and len(ids) <= self.k:
            return self.in_postgres("all of them")
        view = self.view()
        if view is None:
            return self.in_postgres(NO_INDEX)
        if self.k >= len(view):
            return self.in_postgres("all of them")
        # An exact index would look at every vector in any case: it looks at those that pass.
        if not view.is_exact and (found := self.by_over_fetch(view, ids)) is not None:
            return found
        among = ids if ids is not None else self.all_ids(filter_, place)
        self.share = len(among) / max(len(view), 1)
        if len(among) <= self.k:
            return self.in_postgres("all of them")
        return self.by_scan(view, among)

    def forced(self, route: Route, filter_: Subquery | None) -> Neighbours | None:
        view = self.view()
        if view is None:
            return self.in_postgres(NO_INDEX)
        if route == Route.SCAN:
            return self.by_scan(view, None if filter_ is None else self.set_of(filter_))
        return self.by_index(view, self.wanted_of(view) if filter_ is None else self.first_try)

    def by_over_fetch(self, view: View, ids: IdSet | None) -> Neighbours | None:
        """Ask for some more than k and keep what the filter lets through, if that is enough.

        The k best of those that pass are the true k: whoever is missing scores less. How many more
        is told by the share that passes: where it is not known, by the share of a first try.
        """
        if ids is not None:
            self.share = len(ids) / max(len(view), 1)
        elif self.first_try <= costs.DEEP and (found := self.by_index(view, self.first_try)):
            return found
        if not self.share:
            return None
        wanted = self.over_fetched(self.share)
        is_better = costs.is_over_fetch_better(
            wanted,
            len(view),
            self.share * len(view),
            self.statements.space.dimensions,
            ids_known=ids is not None,
        )
        return self.by_index(view, wanted) if is_better else None

    def guess_key(self, filter_: Subquery) -> str:
        return f"{self.statements.model._meta.db_table} {filter_.text}"

    def over_fetched(self, share: float) -> int:
        """Return how many candidates to take where such a share of them passes."""
        return SPARE + math.ceil(CAUTION * self.k / share)

    @property
    def first_try(self) -> int:
        return SPARE + OVER_FETCH * self.k

    def wanted_of(self, view: View) -> int:
        return candidates_of(self.k, scored=view.scan_is_exact)

    def by_index(self, view: View, wanted: int) -> Neighbours | None:
        with self.step("index"):
            found = self.with_ties(partial(view.search, self.statements.vector), wanted, view)
        route = Route.OVER_FETCH if self.statements.filter else Route.OPEN
        standing = self.standing(found, view)
        self.share = len(standing.ids) / max(len(found.ids), 1)
        return self.answered(route, found, standing, view)

    def by_scan(self, view: View, among: IdSet | None) -> Neighbours | None:
        """Look at every vector, or at every one of a set."""
        scan = partial(view.scan, self.statements.vector, among=among)
        with self.step("scan"):
            found = self.with_ties(scan, self.wanted_of(view), view)
        return self.answered(Route.SCAN, found, self.standing(found, view), view)

    def with_ties(self, find: Callable[[int], Candidates], wanted: int, view: View) -> Candidates:
        """Find candidates; when the k-th scores like the last, find more of its equals.

        Equal scores come by ascending id, on every route. An approximate index promises no such.
        """
        found = find(wanted)
        is_tied = len(found.ids) == wanted > self.k and (
            found.scores[self.k - 1] - found.scores[-1] < EQUAL
        )
        return find(wanted + TIES_AMONG) if is_tied and view.scan_is_exact else found

    def standing(self, found: Candidates, view: View) -> Candidates:
        """Return the candidates that Postgres has and lets through."""
        with self.step("check"):
            return self.statements.standing(found, scored=view.scan_is_exact)

    def answered(
        self, route: Route, found: Candidates, standing: Candidates, view: View
    ) -> Neighbours | None:
        """Return the k best of the candidates that stand; None if they are too few."""
        if len(standing.ids) < self.k:
            return None
        is_exact = view.scan_is_exact if route == Route.SCAN else view.is_exact
        plan = Plan(
            route=route,
            exact=is_exact,
            recall=None if is_exact else view.recall,
            index=view.title,
            candidates=len(found.ids),
            steps=tuple(self.steps),
        )
        return Neighbours(*best(standing, self.k), plan)

    def in_postgres(self, reason: str, among: Ids | None = None) -> Neighbours:
        """Compare with all that pass; `among`, the ids of all of them, spares finding these."""
        with self.step("postgres"):
            found = best(self.statements.best(self.k, among), self.k)
        if among is not None and len(found.ids) < min(self.k, len(among)):
            return self.in_postgres(reason)  # the filter let others through a moment ago
        plan = Plan(
            route=Route.POSTGRES,
            exact=True,
            reason=reason,
            candidates=len(found.ids),
            steps=tuple(self.steps),
        )
        return Neighbours(*found, plan)

    def view(self) -> View | None:
        with self.step("view"):
            return live.index_of(self.statements.model, self.statements.space).view()

    def looked_up(self, filter_: Subquery) -> Place:
        with self.named_step() as name:
            place = id_sets.id_sets.look(filter_)
            name.append("ids, remembered" if place.ids is not None else "ids, not remembered")
        return place

    def few_ids(self, filter_: Subquery, place: Place) -> IdSet | None:
        """Return the ids that pass the filter if they are few; None if they are many."""
        with self.step("count"):
            ids = id_sets.read_few(filter_, FEW)
        return None if ids is None else id_sets.id_sets.keep(filter_, place, ids)

    def all_ids(self, filter_: Subquery, place: Place) -> IdSet:
        with self.step("ids, read"):
            return id_sets.id_sets.keep(filter_, place, id_sets.read(filter_))

    def set_of(self, filter_: Subquery) -> IdSet:
        place = self.looked_up(filter_)
        return place.ids if place.ids is not None else self.all_ids(filter_, place)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        with self.named_step() as names:
            names.append(name)
            yield

    @contextmanager
    def named_step(self) -> Iterator[list[str]]:
        """Measure a step that finds its name on the way."""
        names: list[str] = []
        started = time.perf_counter()
        yield names
        self.steps.append(Step(names[-1], (time.perf_counter() - started) * 1000))
