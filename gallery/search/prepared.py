"""A query made ready: vectors instead of texts and pixels, so that it can be ranked again later."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gallery.errors import QueryInvalid
from gallery.query import Encoders, Leg, Mode, PixelsTerm, Query, TextTerm

if TYPE_CHECKING:
    from embeddings.vectors import Ids, Vector
    from gallery.query import Aggregate, Band, Filter, Order
    from gallery.search.bands import Background, Limits

# What a leg weighs where the query does not say. In hybrid mode vectors and words weigh the same;
# captions are words again, seen by the encoder.
WEIGHTS_BY_MODE: dict[Mode, dict[Leg, float]] = {
    Mode.SEMANTIC: {Leg.IMAGE: 1.0},
    Mode.KEYWORD: {Leg.KEYWORD: 1.0},
    Mode.HYBRID: {Leg.IMAGE: 1.0, Leg.CAPTION: 0.5, Leg.KEYWORD: 1.0},
}


@dataclass(frozen=True)
class Part:
    """What one term is in a direction: direction = sum of share * vector."""

    name: str  # as a person reads it
    weight: float  # as it was asked for
    share: float
    vector: Vector  # (d,), unit length


@dataclass(frozen=True)
class Direction:
    """One query vector, (d,) of unit length, and the terms that it is the sum of."""

    vector: Vector
    weight: float
    parts: tuple[Part, ...]


@dataclass(frozen=True, kw_only=True)
class PreparedQuery:
    """All that is needed to rank, now or within the hour, without encoding anything again."""

    space_id: int | None  # None: by keywords alone, before there is a space
    encoder: str
    notice: str  # what to know before trusting it
    directions: tuple[Direction, ...]
    backgrounds: dict[tuple[Leg, int], Background]  # for each leg and direction
    words: str  # the keyword leg's tsquery
    weights: tuple[tuple[Leg, float], ...]  # of the legs in use
    named: Ids  # images that the query names: they are no news to whoever asked
    unknown_words: tuple[str, ...]
    filter: Filter
    aggregate: Aggregate
    order: Order
    diversity: float
    least_band: Band
    min_score: float | None
    k: int
    # Of the bands, for each leg and direction; from the first page on they hold still.
    limits: dict[tuple[Leg, int], Limits] = field(default_factory=dict)
    # The same in the other space, where both are asked. Its legs follow those of this one.
    beside: PreparedQuery | None = None
    label: str = ""  # the encoder's name where there are two, each with its own

    @property
    def parts(self) -> tuple[PreparedQuery, ...]:
        """The query in each space that is asked."""
        return (self,) if self.beside is None else (self, self.beside)

    @property
    def is_fused(self) -> bool:
        """Whether several rankings become one."""
        return len(self.directions) > 1 or sum(len(part.weights) for part in self.parts) > 1

    @property
    def encoders(self) -> str:
        """The names of the encoders that are asked."""
        return " and ".join(part.label or part.encoder for part in self.parts)


def weights_of(query: Query) -> dict[Leg, float]:
    """Return the weight of each leg in use.

    Raise QueryInvalid when none is left, or when one has nothing to look for.
    """
    asked = dict(query.legs)
    weights = WEIGHTS_BY_MODE[query.mode] | asked
    has_text = any(isinstance(term, TextTerm) and term.weight > 0 for term in query.terms)
    if Leg.KEYWORD in weights and not has_text:
        if query.mode == Mode.KEYWORD or asked.get(Leg.KEYWORD):
            raise QueryInvalid("Searching by keywords needs a text.")
        del weights[Leg.KEYWORD]
    weights = {leg: weight for leg, weight in weights.items() if weight}
    if not weights:
        raise QueryInvalid("Every leg has the weight 0: nothing is left to look for.")
    if set(weights) == {Leg.KEYWORD}:
        _check_words_alone(query)
    if query.min_score is not None and Leg.IMAGE not in weights:
        raise QueryInvalid("min_score is of image vectors, and this query compares none.")
    if query.min_score is not None and query.encoders == Encoders.BOTH:
        raise QueryInvalid("min_score is of one encoder's scores: it cannot be asked of both.")
    return weights


def _check_words_alone(query: Query) -> None:
    if query.good or query.bad or any(not isinstance(term, TextTerm) for term in query.terms):
        raise QueryInvalid("Keywords cannot look for an image; choose semantic or hybrid mode.")


def name_of(term: object) -> str:
    """Return a term as a person reads it."""
    if isinstance(term, TextTerm):
        return term.text
    return "the image shown" if isinstance(term, PixelsTerm) else "an image of the library"
