"""The legs of a search: each a ranked list of images, from vectors or from words."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np
from django.db import connection
from django.db.models import BooleanField, F, FloatField, Func, Value

from embeddings.models import Space
from embeddings.nearest import MAX_K, nearest
from embeddings.vectors import Ids, Plan, Route, Scores, Step
from gallery.models import Caption, CaptionEmbedding, Image, ImageEmbedding, ImageQuerySet
from gallery.query import Aggregate, Leg, LegPlan
from gallery.search import fusion
from gallery.search.bands import BANDS, LIKELY, Limits, limits_of
from gallery.search.fusion import RankedList
from gallery.search.prepared import Direction, PreparedQuery

CAPTIONS_AN_IMAGE = 2  # asked for at first; where that gives too few images, more are


@dataclass(frozen=True)
class Sources:
    """Where the legs look: the images that the viewer may see and the filter lets through."""

    space: Space | None
    allowed: ImageQuerySet | None  # None: every image
    beside: Space | None = None  # where both are asked

    def of(self, query: PreparedQuery) -> Sources:
        """Return where one part of a query looks."""
        if self.beside is None or query.space_id != self.beside.pk:
            return self
        return Sources(self.beside, self.allowed)


@dataclass(frozen=True)
class FoundLeg:
    """The images that a leg finds, best first."""

    leg: Leg
    weight: float
    found: RankedList
    plan: Plan
    limits: dict[tuple[Leg, int], Limits]
    is_complete: bool  # beyond its end there is nothing relevant
    encoder: str = ""  # whose vectors it compares, where there are two

    @property
    def as_plan(self) -> LegPlan:
        return LegPlan(self.leg, self.weight, self.plan, self.encoder)


def find(query: PreparedQuery, sources: Sources, depth: int) -> tuple[FoundLeg, ...]:
    """Return the first `depth` images of every leg in use, space by space."""
    return tuple(
        _keyword_leg(part, weight, sources, depth)
        if leg == Leg.KEYWORD
        else _vector_leg(part, leg, weight, sources.of(part), depth)
        for part in query.parts
        for leg, weight in part.weights
    )


def with_limits(query: PreparedQuery, found: Sequence[FoundLeg]) -> PreparedQuery:
    """Return the query with the limits of its bands as its first page has them."""
    own, others = found[: len(query.weights)], found[len(query.weights) :]
    limits = {key: some for leg in own for key, some in leg.limits.items()}
    beside = None if query.beside is None else with_limits(query.beside, others)
    return replace(query, limits=limits, beside=beside)


class DirectionList(NamedTuple):
    """What a leg finds in one direction."""

    found: RankedList
    plan: Plan
    limits: Limits
    is_complete: bool


def lists_of(query: PreparedQuery, leg: Leg, sources: Sources, depth: int) -> list[DirectionList]:
    """Return the first images of a vector leg in each direction, less those the query names."""
    look = _images if leg == Leg.IMAGE else _captions
    wanted = min(MAX_K, depth + len(query.named))
    lists = []
    for number, direction in enumerate(query.directions):
        ids, scores, plan = look(direction, sources, wanted)
        is_all = len(ids) < wanted
        if len(query.named):
            is_news = ~np.isin(ids, query.named)
            ids, scores = ids[is_news][:depth], scores[is_news][:depth]
        limits = query.limits.get((leg, number)) or limits_of(
            query.backgrounds[leg, number], scores
        )
        bands = limits.bands_of(scores)
        found = RankedList(ids, scores, bands)
        # Scores fall along the list: past the first that is too low there is nothing more.
        is_complete = is_all or bands[-1] > BANDS.index(query.least_band)
        if leg == Leg.IMAGE and query.min_score is not None:
            enough = int(np.count_nonzero(scores >= query.min_score))
            is_complete = is_complete or enough < len(ids)
            found = found.first(enough)
        lists.append(DirectionList(found, plan, limits, bool(is_complete)))
    return lists


def _vector_leg(
    query: PreparedQuery, leg: Leg, weight: float, sources: Sources, depth: int
) -> FoundLeg:
    lists = lists_of(query, leg, sources, depth)
    found, plan = lists[0].found, lists[0].plan
    if len(lists) > 1:
        found = _aggregated(query, [some.found for some in lists], depth)
        plan = _joined_plan([some.plan for some in lists])
    limits = {(leg, number): some.limits for number, some in enumerate(lists)}
    is_complete = all(some.is_complete for some in lists)
    return FoundLeg(leg, weight, found, plan, limits, is_complete, query.label)


def _aggregated(query: PreparedQuery, lists: Sequence[RankedList], depth: int) -> RankedList:
    join = fusion.greatest if query.aggregate == Aggregate.MAX else fusion.reciprocal_rank
    joined = join(lists, [direction.weight for direction in query.directions])
    return joined.first(depth)


def _joined_plan(plans: Sequence[Plan]) -> Plan:
    return replace(
        plans[0],
        exact=all(plan.exact for plan in plans),
        recall=min((plan.recall for plan in plans if plan.recall is not None), default=None),
        candidates=sum(plan.candidates for plan in plans),
        steps=tuple(step for plan in plans for step in plan.steps),
    )


_Found = tuple[Ids, Scores, Plan]


def _images(direction: Direction, sources: Sources, wanted: int) -> _Found:
    assert sources.space is not None
    found = nearest(
        ImageEmbedding, sources.space, direction.vector, k=wanted, within=sources.allowed
    )
    return found.ids, found.scores, found.plan


def _captions(direction: Direction, sources: Sources, wanted: int) -> _Found:
    """Return the images by their best caption."""
    assert sources.space is not None
    within = None if sources.allowed is None else Caption.objects.filter(image__in=sources.allowed)
    look = partial(nearest, CaptionEmbedding, sources.space, direction.vector, within=within)
    k = min(MAX_K, wanted * CAPTIONS_AN_IMAGE)
    while True:
        found = look(k=k)
        images = _images_of(found.ids)
        # Captions come best first, so an image's first one is its best.
        firsts = np.sort(np.unique(images, return_index=True)[1])
        firsts = firsts[images[firsts] > 0]
        if len(firsts) >= wanted or len(found.ids) < k or k == MAX_K:
            chosen = firsts[:wanted]
            return images[chosen], found.scores[chosen], found.plan
        k = min(MAX_K, k * 4)


def _images_of(captions: Ids) -> Ids:
    """Return the image of each caption, (n,); 0 where the caption has just gone."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT coalesce(string_agg(int8send(coalesce(image_id, 0)), '' ORDER BY place), '') "
            "FROM unnest(%s::bigint[]) WITH ORDINALITY AS asked (id, place) "
            "LEFT JOIN gallery_caption USING (id)",
            [captions.tolist()],
        )
        return np.frombuffer(cursor.fetchone()[0], dtype=">i8").astype(np.int64)


def _keyword_leg(query: PreparedQuery, weight: float, sources: Sources, depth: int) -> FoundLeg:
    started = time.perf_counter()
    rows = list(
        matching(query.words, _every(sources))
        .exclude(pk__in=query.named.tolist())
        .annotate(relevance=rank_by(query.words))
        .order_by("-relevance", "pk")
        .values_list("pk", "relevance")[:depth]
    )
    taken = Step("full text", (time.perf_counter() - started) * 1000)
    plan = Plan(
        route=Route.POSTGRES, exact=True, reason="full text", candidates=len(rows), steps=(taken,)
    )
    ids = np.array([row[0] for row in rows], dtype=np.int64)
    found = RankedList(
        ids,
        np.array([row[1] for row in rows], dtype=np.float32),
        # Whoever wrote these words meant them.
        np.full(len(ids), LIKELY, dtype=np.uint8),
    )
    return FoundLeg(Leg.KEYWORD, weight, found, plan, {}, is_complete=len(rows) < depth)


def matching(words: str, images: ImageQuerySet) -> ImageQuerySet:
    """Keep the images whose full text meets a tsquery."""
    return images.filter(
        Func(
            F("full_text"),
            Value(words),
            template="%(expressions)s::tsquery",
            arg_joiner=" @@ ",
            output_field=BooleanField(),
        )
    )


def rank_by(words: str) -> Func:
    """Return the expression of Postgres' rank by a tsquery: how close together its words lie."""
    return Func(
        F("full_text"),
        Value(words),
        template="ts_rank_cd(%(expressions)s::tsquery)",
        output_field=FloatField(),
    )


def _every(sources: Sources) -> ImageQuerySet:
    return Image.objects.all() if sources.allowed is None else sources.allowed
