"""Two encoders side by side: the first hits of both for the same queries, and how they differ."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import mean, median
from typing import TYPE_CHECKING, Any

from embeddings.encoders import registry
from embeddings.models import Space
from gallery import spaces
from gallery.errors import QueryInvalid, SpaceRefused
from gallery.patience import patience
from gallery.query import Band, Encoders, Hit, Order, Query, TextTerm
from gallery.search import rankings, reading, searches
from gallery.search.preparation import prepare
from gallery.switching.progress import Lack, lack_of
from gallery.switching.questions import Question

if TYPE_CHECKING:
    from django.contrib.auth.models import User

    from gallery.search.rankings import Ranking

DEPTH = 100  # ranks that are looked at, to say where a hit has gone
TIMED = 5  # texts that are encoded anew to measure how long it takes


@dataclass(frozen=True)
class ComparedHit:
    """A hit of one encoder, and where the other one ranks it."""

    hit: Hit
    other_rank: int | None  # None: beyond DEPTH

    @property
    def moved(self) -> int | None:
        """Return by how many ranks it stands higher here than there."""
        return None if self.other_rank is None else self.other_rank - self.hit.rank


@dataclass(frozen=True, kw_only=True)
class ComparedQuery:
    """One query in both: `left` in the active space, `right` in the other one."""

    name: str
    k: int
    left: tuple[ComparedHit, ...] = ()
    right: tuple[ComparedHit, ...] = ()
    milliseconds: tuple[float, float] = (0.0, 0.0)
    problem: str = ""  # why it cannot be compared

    @property
    def is_compared(self) -> bool:
        return bool(self.left or self.right)

    @property
    def common(self) -> int:
        return sum(one.other_rank is not None and one.other_rank <= self.k for one in self.left)

    @property
    def overlap(self) -> float:
        """Return the share of the first k that both have."""
        return self.common / (max(len(self.left), len(self.right)) or 1)

    @property
    def new(self) -> int:
        return len(self.right) - self.common

    @property
    def gone(self) -> int:
        return len(self.left) - self.common

    @property
    def moved(self) -> float:
        """Return the mean of the ranks by which those moved that both have."""
        steps = [
            abs(one.moved or 0)
            for one in self.left
            if one.other_rank is not None and one.other_rank <= self.k
        ]
        return mean(steps) if steps else 0.0

    @property
    def has_same_first(self) -> bool:
        return bool(self.left) and self.left[0].other_rank == 1


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Both spaces by some queries."""

    left: Space
    right: Space
    k: int
    queries: tuple[ComparedQuery, ...]
    encode_ms: tuple[float, float]  # a text, anew
    lack: Lack  # what the other one cannot find yet

    @property
    def compared(self) -> list[ComparedQuery]:
        return [one for one in self.queries if one.is_compared]

    @property
    def overlap(self) -> float:
        return mean(one.overlap for one in self.compared) if self.compared else 0.0

    @property
    def same_first(self) -> float:
        return mean(one.has_same_first for one in self.compared) if self.compared else 0.0

    @property
    def search_ms(self) -> tuple[float, float]:
        """Return the median of each, without encoding where the text was known."""
        if not self.compared:
            return (0.0, 0.0)
        left, right = zip(*(one.milliseconds for one in self.compared), strict=True)
        return (median(left), median(right))

    @property
    def lack_sentence(self) -> str:
        """Return why the other one may look worse than it is; "" when it lacks nothing."""
        return self.lack.sentence(self.right)

    @property
    def sentence(self) -> str:
        n = len(self.compared)
        if not n:
            return "No query could be compared."
        return (
            f"{n:,} {'query' if n == 1 else 'queries'}: {self.overlap:.0%} of the first {self.k} "
            f"hits are the same; the very first is for {self.same_first:.0%}. A text is encoded "
            f"in {self.encode_ms[0]:.1f} ms by {self.left.title}, in {self.encode_ms[1]:.1f} ms "
            f"by {self.right.title}."
        )

    def as_json(self) -> dict[str, Any]:
        return {
            "k": self.k,
            "active": {"number": self.left.pk, "encoder": self.left.title},
            "other": {"number": self.right.pk, "encoder": self.right.title},
            "overlap": round(self.overlap, 4),
            "same_first": round(self.same_first, 4),
            "lacks": dict(self.lack.count_by_kind),
            "encode_ms": [round(ms, 2) for ms in self.encode_ms],
            "search_ms": [round(ms, 2) for ms in self.search_ms],
            "queries": [_query_as_json(one) for one in self.queries],
        }


def compare(questions: Sequence[Question], viewer: User, *, other: Space, k: int) -> Comparison:
    """Ask the active space and another one the same, as a viewer who may see what he may see.

    Bands leave nothing out, and the order is that of relevance. Raise SpaceRefused where there are
    not two, EncoderUnavailable when one of them cannot be asked, QueryInvalid for a wrong k.
    """
    active = spaces.active()
    if active is None or other == active:
        raise SpaceRefused("There is nothing to compare the active space with: fill another one.")
    if other.state == Space.State.RETIRED:
        raise SpaceRefused(f"{other} is retired: fill it again first.")
    if not other.is_prepared:
        raise SpaceRefused(f"The encoder of {other} was not opened yet: nothing can be compared.")
    if not 1 <= k <= DEPTH:
        raise QueryInvalid(f"From 1 to {DEPTH} hits can be compared.")
    texts = [
        term.text for one in questions for term in one.query.terms if isinstance(term, TextTerm)
    ]
    encode_ms = (_encode_ms(active, texts), _encode_ms(other, texts))
    return Comparison(
        left=active,
        right=other,
        k=k,
        queries=tuple(_compared(one, viewer, (active, other), k) for one in questions),
        encode_ms=encode_ms,
        lack=lack_of(other),
    )


def _compared(question: Question, viewer: User, both: tuple[Space, Space], k: int) -> ComparedQuery:
    query = replace(
        question.query,
        k=DEPTH,
        least_band=Band.UNLIKELY,
        order=Order.RELEVANCE,
        diversity=0.0,
        min_score=None,
        encoders=Encoders.ACTIVE,
    )
    found, took = [], []
    for space in both:
        started = time.perf_counter()
        try:
            found.append(_ranked(query, viewer, space))
        except QueryInvalid as error:
            return ComparedQuery(name=question.name, k=k, problem=str(error))
        took.append((time.perf_counter() - started) * 1000)
    left, right = found
    return ComparedQuery(
        name=question.name,
        k=k,
        left=_hits(left, right, viewer, k),
        right=_hits(right, left, viewer, k),
        milliseconds=(took[0], took[1]),
    )


def _ranked(query: Query, viewer: User, space: Space) -> Ranking:
    with patience():
        prepared = prepare(query, viewer, space)
        sources = searches.sources_of(prepared, viewer, space)
        return rankings.make_first(prepared, sources)[0]


def _hits(ranking: Ranking, other: Ranking, viewer: User, k: int) -> tuple[ComparedHit, ...]:
    rank_by_id = {id_: rank for rank, id_ in enumerate(other.ids[:DEPTH].tolist(), 1)}
    hits = reading.hits(ranking.taken(slice(0, k)), viewer)
    return tuple(ComparedHit(hit, rank_by_id.get(hit.image.pk)) for hit in hits)


def _encode_ms(space: Space, texts: Sequence[str]) -> float:
    """Return the median time in which the encoder of a space encodes a text, once it is loaded."""
    encoder = registry.load(space)
    encoder.encode_texts(texts[:1] or ["a"])  # the first text opens what texts need
    took = []
    for text in texts[:TIMED]:
        started = time.perf_counter()
        encoder.encode_texts([text])
        took.append((time.perf_counter() - started) * 1000)
    return median(took) if took else 0.0


def _query_as_json(one: ComparedQuery) -> dict[str, Any]:
    return {
        "query": one.name,
        "problem": one.problem,
        "overlap": round(one.overlap, 4),
        "new": one.new,
        "gone": one.gone,
        "moved": round(one.moved, 2),
        "same_first": one.has_same_first,
        "milliseconds": [round(ms, 2) for ms in one.milliseconds],
        "active": [_hit_as_json(hit) for hit in one.left],
        "other": [_hit_as_json(hit) for hit in one.right],
    }


def _hit_as_json(one: ComparedHit) -> dict[str, Any]:
    return {
        "id": str(one.hit.image.uuid),
        "rank": one.hit.rank,
        "score": round(one.hit.score, 4),
        "other_rank": one.other_rank,
    }
