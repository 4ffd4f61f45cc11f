"""What a search answers, as JSON."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from ninja import Schema

from embeddings.vectors import Plan
from gallery.api.schemas import VideoPlace, thumbnail_url
from gallery.errors import QueryInvalid
from gallery.models import SavedSearch
from gallery.query import (
    Band,
    Explanation,
    Facet,
    Hit,
    Leg,
    LegPlan,
    Page,
    Totals,
    forms,
)

# The records of an answer are made without checks: all they hold comes from our own types, and
# checking ten hits takes longer than finding them.


class HitRecord(Schema):
    id: uuid.UUID
    score: float
    rank: int
    band: Band
    caption: str
    tags: list[str]
    url: str
    thumbnail_url: str
    video: VideoPlace | None

    @classmethod
    def of(cls, hit: Hit) -> HitRecord:
        return cls.model_construct(
            id=hit.image.uuid,
            score=hit.score,
            rank=hit.rank,
            band=hit.band,
            caption=hit.image.caption,
            tags=list(hit.tags),
            url=hit.image.get_absolute_url(),
            thumbnail_url=thumbnail_url(hit.image),
            video=VideoPlace.of(hit.image),
        )


class StepRecord(Schema):
    name: str
    milliseconds: float


class PlanRecord(Schema):
    """How one leg of the search was answered."""

    leg: Leg
    weight: float
    encoder: str
    route: str
    reason: str
    exact: bool
    recall: float | None
    index: str
    candidates: int
    steps: list[StepRecord]

    @classmethod
    def of(cls, leg: LegPlan) -> PlanRecord:
        plan: Plan = leg.plan
        return cls.model_construct(
            leg=leg.leg,
            weight=leg.weight,
            encoder=leg.encoder,
            route=plan.route,
            reason=plan.reason,
            exact=plan.exact,
            recall=plan.recall,
            index=plan.index,
            candidates=plan.candidates,
            steps=[
                StepRecord.model_construct(name=step.name, milliseconds=step.milliseconds)
                for step in plan.steps
            ],
        )


class SearchAnswer(Schema):
    """One page of hits, best first, and how they were found."""

    search_id: str
    page: int
    has_more: bool
    hits: list[HitRecord]
    plans: list[PlanRecord]
    took_ms: float
    encoder: str
    unknown_words: list[str]
    notice: str

    @classmethod
    def of(cls, page: Page) -> SearchAnswer:
        return cls.model_construct(
            search_id=page.search_id,
            page=page.number,
            has_more=page.has_more,
            hits=[HitRecord.of(hit) for hit in page.hits],
            plans=[PlanRecord.of(leg) for leg in page.legs],
            took_ms=page.took_ms,
            encoder=page.encoder,
            unknown_words=list(page.unknown_words),
            notice=page.notice,
        )


class TotalsRecord(Schema):
    """How many images a search finds; `by_band` counts also those that its bands leave out."""

    total: int
    by_band: dict[Band, int]
    is_capped: bool

    @classmethod
    def of(cls, totals: Totals) -> TotalsRecord:
        return cls(total=totals.total, by_band=totals.by_band, is_capped=totals.is_capped)


class FacetCountRecord(Schema):
    value: str
    label: str
    count: int


class FacetRecord(Schema):
    """How many images have each value of a field, most first, at most 20."""

    field: str
    counts: list[FacetCountRecord]

    @classmethod
    def of(cls, facet: Facet) -> FacetRecord:
        return cls(
            field=facet.field,
            counts=[
                FacetCountRecord(value=one.value, label=one.label, count=one.count)
                for one in facet.counts
            ],
        )


class TermShareRecord(Schema):
    leg: Leg
    term: str
    weight: float
    similarity: float
    share: float
    encoder: str


class LegShareRecord(Schema):
    leg: Leg
    rank: int | None
    score: float | None
    share: float
    encoder: str


class BackgroundRecord(Schema):
    """What the query scores on just any image."""

    mean: float
    deviation: float


class ExplanationRecord(Schema):
    """Why an image is among the hits."""

    hit: HitRecord
    terms: list[TermShareRecord]
    legs: list[LegShareRecord]
    conditions: list[str]
    background: BackgroundRecord
    route: str
    encoder: str
    index: str

    @classmethod
    def of(cls, why: Explanation) -> ExplanationRecord:
        mean, deviation = why.background
        return cls(
            hit=HitRecord.of(why.hit),
            terms=[TermShareRecord.from_orm(term) for term in why.terms],
            legs=[LegShareRecord.from_orm(leg) for leg in why.legs],
            conditions=list(why.conditions),
            background=BackgroundRecord(mean=mean, deviation=deviation),
            route=why.route,
            encoder=why.encoder,
            index=why.index,
        )


class SavedSearchRecord(Schema):
    """A query under a name; `parameters` make it an address again, none when it is outdated."""

    id: int
    name: str
    query: dict[str, Any]
    parameters: list[tuple[str, str]]
    created_at: datetime

    @classmethod
    def of(cls, search: SavedSearch) -> SavedSearchRecord:
        return cls(
            id=search.pk,
            name=search.name,
            query=search.query,
            parameters=_parameters(search),
            created_at=search.created_at,
        )


def _parameters(search: SavedSearch) -> list[tuple[str, str]]:
    try:
        return forms.to_parameters(forms.from_json(search.query))
    except QueryInvalid:
        return []  # of another version; the others are listed, and it can be deleted
