"""Why is this here: what each term and each leg adds to a hit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from embeddings.streams import read_vectors
from embeddings.vectors import Vector, Vectors
from gallery.errors import QueryInvalid
from gallery.models import Caption, CaptionEmbedding, Image, ImageEmbedding
from gallery.query import (
    Aggregate,
    Explanation,
    Filter,
    Hit,
    Leg,
    LegShare,
    Order,
    TermShare,
    filters,
    language,
)
from gallery.search import fusion, legs
from gallery.search.bands import BANDS, LEAST_POPULATION, Background
from gallery.search.fusion import RANK_OFFSET
from gallery.search.legs import Sources
from gallery.search.prepared import Direction, PreparedQuery
from gallery.search.rankings import DEPTHS, Ranking, first_depth

if TYPE_CHECKING:
    from gallery.search.searches import KeptSearch

NO_BACKGROUND = Background(0.0, 0.0, 0)
DIGITS = 3  # of background figures: finer ones could tell of images that the viewer may not see


def explain(search: KeptSearch, ranking: Ranking, image: Image, sources: Sources) -> Explanation:
    """Explain a hit of a ranking. Raise QueryInvalid when the image is none."""
    query = search.query
    places = np.flatnonzero(ranking.ids == image.pk)
    if not len(places):
        raise QueryInvalid("This image is not among the hits of this search.")
    place = int(places[0])
    background = query.backgrounds.get((query.weights[0][0], 0), NO_BACKGROUND)
    if background.population < LEAST_POPULATION:
        background = NO_BACKGROUND  # of so few, hidden ones too, it would tell of each
    plan = search.plans[0].plan
    return Explanation(
        hit=Hit(
            image,
            float(ranking.scores[place]),
            place + 1,
            BANDS[ranking.bands[place]],
            tuple(image.tags.values_list("name", flat=True)),
        ),
        terms=tuple(
            term
            for part in query.parts
            for term in _terms(part, image, sources.of(part), _depth(search, ranking))
        ),
        legs=tuple(_legs(query, ranking, place)),
        conditions=_conditions(query.filter),
        background=(round(background.mean, DIGITS), round(background.deviation, DIGITS)),
        route=plan.route,
        encoder=query.encoders,
        index=plan.index,
    )


def _depth(search: KeptSearch, ranking: Ranking) -> int:
    """Return how deep the legs were looked at for a ranking."""
    if ranking is search.head and search.query.order == Order.RELEVANCE:
        return first_depth(search.query)
    return next((depth for depth in DEPTHS if depth >= len(ranking)), DEPTHS[-1])


def _legs(query: PreparedQuery, ranking: Ranking, place: int) -> Iterator[LegShare]:
    used = [(part.label, leg, weight) for part in query.parts for leg, weight in part.weights]
    for column, (label, leg, weight) in enumerate(used):
        rank = int(ranking.leg_ranks[place, column])
        score = float(ranking.leg_scores[place, column]) if rank else None
        if len(used) == 1:
            share = score or 0.0
        else:
            share = weight / (RANK_OFFSET + rank) if rank else 0.0
        yield LegShare(leg, rank or None, score, share, label if leg != Leg.KEYWORD else "")


def _terms(query: PreparedQuery, image: Image, sources: Sources, depth: int) -> Iterator[TermShare]:
    for leg, _ in query.weights:
        if leg == Leg.KEYWORD:
            continue
        compared = _compared(leg, image, sources)
        if not len(compared):
            continue
        if len(query.directions) > 1 and query.aggregate == Aggregate.RECIPROCAL_RANK:
            yield from _shares_by_rank(query, leg, image, compared, sources, depth)
            continue
        # The leg scores by the best direction, and by the best caption.
        scores = np.stack([d.weight * (compared @ d.vector) for d in query.directions])
        best, of = np.unravel_index(int(np.argmax(scores)), scores.shape)
        yield from _shares_by_score(query, leg, query.directions[best], compared[of])


def _shares_by_score(
    query: PreparedQuery, leg: Leg, direction: Direction, vector: Vector
) -> Iterator[TermShare]:
    for part in direction.parts:
        similarity = float(part.vector @ vector)
        share = direction.weight * part.share * similarity
        yield TermShare(leg, part.name, part.weight, similarity, share, query.label)


def _shares_by_rank(
    query: PreparedQuery, leg: Leg, image: Image, compared: Vectors, sources: Sources, depth: int
) -> Iterator[TermShare]:
    lists = legs.lists_of(query, leg, sources, depth)
    for direction, some in zip(query.directions, lists, strict=True):
        rank = int(fusion.ranks_in(some.found, np.array([image.pk]))[0])
        share = direction.weight / (RANK_OFFSET + rank) if rank else 0.0
        similarity = float((compared @ direction.vector).max())
        part = direction.parts[0]  # the term that is wanted; the others are in all directions
        yield TermShare(leg, part.name, part.weight, similarity, share, query.label)


def _compared(leg: Leg, image: Image, sources: Sources) -> Vectors:
    """Return the vectors of an image that a leg compares, (n, d): its own, or its captions'."""
    assert sources.space is not None
    if leg == Leg.IMAGE:
        ids = np.array([image.pk], dtype=np.int64)
        return read_vectors(ImageEmbedding, sources.space, only=ids)[1]
    captions = list(Caption.objects.filter(image=image).values_list("pk", flat=True))
    ids = np.array(captions, dtype=np.int64)
    return read_vectors(CaptionEmbedding, sources.space, only=ids)[1]


def _conditions(filter_: Filter) -> tuple[str, ...]:
    """Return what the filter asks for, one text for each part that must hold."""
    parts = filter_.parts if isinstance(filter_, filters.And) else (filter_,)
    return tuple(language.write(part) for part in parts)
