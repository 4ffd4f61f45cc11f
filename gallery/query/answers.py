"""What comes back of a search."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gallery.query.choices import Band, Leg

if TYPE_CHECKING:
    from embeddings.vectors import Plan
    from gallery.models import Image


@dataclass(frozen=True)
class Hit:
    """An image with its score and rank (first is 1), ready to show.

    The score is the cosine similarity in semantic mode (by aggregate max: to the nearest term,
    times its share of the heaviest weight), the rank of Postgres' full text in keyword mode, and
    wherever rankings are fused the sum of weight / (60 + rank) over them.
    """

    image: Image
    score: float
    rank: int
    band: Band
    tags: tuple[str, ...]  # names, by the alphabet


@dataclass(frozen=True)
class LegPlan:
    """How one leg was answered."""

    leg: Leg
    weight: float
    plan: Plan
    encoder: str = ""  # whose vectors it compares, where there are two


@dataclass(frozen=True, kw_only=True)
class Page:
    """Some hits of a ranking that holds still."""

    hits: tuple[Hit, ...]
    legs: tuple[LegPlan, ...]
    took_ms: float
    encoder: str
    notice: str = ""  # what to know before trusting the hits
    unknown_words: tuple[str, ...] = ()
    search_id: str = ""  # for further pages, totals, facets and explanations; "": cannot be kept
    number: int = 1
    has_more: bool = False
    is_fused: bool = False  # several rankings made one: bands do not follow one another

    @property
    def plan(self) -> Plan:
        """The plan of the leading leg."""
        return self.legs[0].plan


@dataclass(frozen=True, kw_only=True)
class Totals:
    """How many images a search finds, with those the bands leave out."""

    total: int  # hits of the ranking
    by_band: dict[Band, int]
    is_capped: bool  # there are more, beyond the longest ranking that is kept


@dataclass(frozen=True)
class FacetCount:
    value: str
    label: str
    count: int


@dataclass(frozen=True)
class Facet:
    """How many images have each value of a field, most first."""

    field: str
    counts: tuple[FacetCount, ...]


@dataclass(frozen=True)
class TermShare:
    """What one term adds to a hit's score; the shares of a leg add up to its score."""

    leg: Leg
    term: str  # as a person reads it: "beach", this image, good examples
    weight: float
    similarity: float  # cosine of the term alone
    share: float
    encoder: str = ""  # that says so, where there are two


@dataclass(frozen=True)
class LegShare:
    """Where a leg ranks a hit, and what that adds to the fused score."""

    leg: Leg
    rank: int | None  # None: the leg does not find it
    score: float | None
    share: float
    encoder: str = ""  # whose vectors it compares, where there are two


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Why an image is among the hits."""

    hit: Hit
    terms: tuple[TermShare, ...]
    legs: tuple[LegShare, ...]
    conditions: tuple[str, ...] = field(default=())  # of the filter, that the image passes
    background: tuple[float, float] = (0.0, 0.0)  # mean and deviation of the query's background
    route: str = ""
    encoder: str = ""
    index: str = ""
