"""What a person asks, and what comes back: typed, immutable values.

The same `Query` is one address, one API call, one command line and one saved search.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from gallery.errors import QueryInvalid
from gallery.query.answers import (
    Explanation,
    Facet,
    FacetCount,
    Hit,
    LegPlan,
    LegShare,
    Page,
    TermShare,
    Totals,
)
from gallery.query.choices import Aggregate, Band, Encoders, Leg, Mode, Order
from gallery.query.filters import (
    EVERYTHING,
    And,
    Condition,
    Filter,
    Not,
    Operator,
    Or,
    conditions,
)
from gallery.query.terms import (
    MAX_TEXT,
    ImageTerm,
    PixelsTerm,
    Term,
    TextTerm,
    check_term,
    check_text,
)

__all__ = [
    "EVERYTHING",
    "MAX_EXAMPLES",
    "MAX_K",
    "MAX_TEXT",
    "Aggregate",
    "And",
    "Band",
    "Condition",
    "Encoders",
    "Explanation",
    "Facet",
    "FacetCount",
    "Filter",
    "Hit",
    "ImageTerm",
    "Leg",
    "LegPlan",
    "LegShare",
    "Mode",
    "Not",
    "Operator",
    "Or",
    "Order",
    "Page",
    "PixelsTerm",
    "Query",
    "Term",
    "TermShare",
    "TextTerm",
    "Totals",
    "check_text",
    "conditions",
]

MAX_K = 1000
MAX_TERMS = 16
MAX_EXAMPLES = 100


@dataclass(frozen=True, kw_only=True)
class Query:
    """One search: what it should look like, what must hold, in which order.

    The images that it names, as terms or examples, are not among its hits: they are no news.
    Raise QueryInvalid when it cannot be answered as it stands.
    """

    terms: tuple[Term, ...] = ()
    good: tuple[uuid.UUID, ...] = ()  # images of the library that are what is meant
    bad: tuple[uuid.UUID, ...] = ()  # and that are not: relevance feedback
    filter: Filter = EVERYTHING
    mode: Mode = Mode.SEMANTIC
    # Weight of each leg, where the mode's own does not do: ((Leg.CAPTION, 0.5), ...); 0: without.
    legs: tuple[tuple[Leg, float], ...] = ()
    aggregate: Aggregate = Aggregate.MEAN
    encoders: Encoders = Encoders.ACTIVE
    order: Order = Order.RELEVANCE
    diversity: float = 0.0  # 0: by score alone; 1: as unlike one another as can be
    least_band: Band = Band.MAYBE  # hits below it are left out
    # And those below a plain cosine of the image leg. For it alone, least_band is UNLIKELY.
    min_score: float | None = None
    k: int = 24  # hits a page

    def __post_init__(self) -> None:
        if not self.terms and not self.good:
            raise QueryInvalid("Say what to look for: a text, an image, or similar_to.")
        if len(self.terms) > MAX_TERMS:
            raise QueryInvalid(f"A query has at most {MAX_TERMS} terms.")
        if len(self.good) + len(self.bad) > MAX_EXAMPLES:
            raise QueryInvalid(f"A query has at most {MAX_EXAMPLES} good and bad examples.")
        if not 1 <= self.k <= MAX_K:
            raise QueryInvalid(f"k must be from 1 to {MAX_K}.")
        if not 0 <= self.diversity <= 1:
            raise QueryInvalid("diversity must be from 0 to 1.")
        if self.min_score is not None and not -1 <= self.min_score <= 1:
            raise QueryInvalid("min_score must be from -1 to 1.")
        if any(not 0 <= weight <= 100 for _, weight in self.legs):
            raise QueryInvalid("The weight of a leg must be from 0 to 100.")
        for term in self.terms:
            check_term(term)
