"""From what is asked to what can be ranked: rights on named images, vectors, limits of bands."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from embeddings import samples
from embeddings.models import Space
from embeddings.vectors import Ids
from gallery import spaces
from gallery.errors import QueryInvalid, SearchUnavailable
from gallery.models import CaptionEmbedding, ImageEmbedding
from gallery.query import Encoders, Leg, Mode, Query
from gallery.search import background, bands, vectors, words
from gallery.search.bands import Background
from gallery.search.prepared import Direction, PreparedQuery, weights_of

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

NOT_TWO = (
    "There is no second encoder whose space is filled, so only one can be asked: "
    "choose “active”, or see manage.py space."
)
MODEL_BY_LEG: dict[Leg, type[ImageEmbedding] | type[CaptionEmbedding]] = {
    Leg.IMAGE: ImageEmbedding,
    Leg.CAPTION: CaptionEmbedding,
}


def prepare(
    query: Query, viewer: AbstractBaseUser | AnonymousUser, space: Space | None
) -> PreparedQuery:
    """Return the query as it can be ranked in a space.

    Raise QueryInvalid when it cannot be answered, SearchUnavailable when no query can be.
    """
    weights = weights_of(query)
    tsquery = ""
    if Leg.KEYWORD in weights:
        tsquery = _words(query, weights)
    directions: tuple[Direction, ...] = ()
    named = np.empty(0, np.int64)
    unknown_words: tuple[str, ...] = ()
    if set(weights) != {Leg.KEYWORD}:
        if space is None:
            raise SearchUnavailable("Search is not available yet: no encoder has been chosen.")
        directions, named = _looked_for(query, space, viewer)
        unknown_words = vectors.unknown_words(query.terms, space)
    prepared = PreparedQuery(
        space_id=space.pk if space else None,
        encoder=space.title if space else "",
        notice=spaces.notice_of(space),
        directions=directions,
        backgrounds=_backgrounds(weights, directions, space),
        words=tsquery,
        weights=tuple(weights.items()),
        named=named,
        unknown_words=unknown_words,
        filter=query.filter,
        aggregate=query.aggregate,
        order=query.order,
        diversity=query.diversity,
        least_band=query.least_band,
        min_score=query.min_score,
        k=query.k,
    )
    if query.encoders == Encoders.BOTH and space is not None and directions:
        return _with_beside(prepared, query, viewer, space)
    return prepared


def _with_beside(
    prepared: PreparedQuery,
    query: Query,
    viewer: AbstractBaseUser | AnonymousUser,
    space: Space,
) -> PreparedQuery:
    """Return a query that asks the other space too, for the same vector legs."""
    other = spaces.beside_lately()
    if other is None or not (other.filled_at or other.state == Space.State.ACTIVE):
        raise QueryInvalid(NOT_TWO)
    weights = dict(prepared.weights)
    legs = tuple((leg, weights.get(leg, 0.0)) for leg in MODEL_BY_LEG)
    same = replace(query, encoders=Encoders.ACTIVE, mode=Mode.SEMANTIC, legs=legs)
    beside = prepare(same, viewer, other)
    names = (space.title, other.title)
    if names[0] == names[1]:
        names = (str(space), str(other))
    return replace(
        prepared,
        notice=prepared.notice or beside.notice,
        label=names[0],
        beside=replace(beside, label=names[1]),
    )


def _words(query: Query, weights: dict[Leg, float]) -> str:
    """Return the tsquery; where no word is left to look for, a hybrid query does without."""
    tsquery = words.tsquery_of(query)
    if not tsquery:
        if query.mode == Mode.KEYWORD or set(weights) == {Leg.KEYWORD}:
            raise QueryInvalid("The text holds no word that can be looked for.")
        del weights[Leg.KEYWORD]
    return tsquery


def _looked_for(
    query: Query, space: Space, viewer: AbstractBaseUser | AnonymousUser
) -> tuple[tuple[Direction, ...], Ids]:
    named = vectors.named_images(query, space, viewer)
    directions = vectors.directions_of(query, space, named)
    for direction in directions:
        samples.remember(space, direction.vector)
    return directions, named.ids


def _backgrounds(
    weights: dict[Leg, float], directions: tuple[Direction, ...], space: Space | None
) -> dict[tuple[Leg, int], Background]:
    backgrounds = {}
    for leg, model in MODEL_BY_LEG.items():
        if leg in weights and space is not None:
            sample = background.of(model, space)
            for number, direction in enumerate(directions):
                scores = sample.vectors @ direction.vector
                backgrounds[leg, number] = bands.background_of(scores, sample.population)
    return backgrounds
