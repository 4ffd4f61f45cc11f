"""The way of a search: terms become one vector, the filter a queryset, neighbours become hits."""

from __future__ import annotations

import time
from functools import lru_cache
from typing import TYPE_CHECKING, assert_never

import numpy as np

from embeddings.encoders import registry
from embeddings.errors import EmbeddingsError, VectorInvalid
from embeddings.models import Space
from embeddings.nearest import nearest
from embeddings.streams import read_vectors
from embeddings.vectors import Neighbours, Vector, normalise
from gallery import spaces
from gallery.errors import QueryInvalid, SearchUnavailable
from gallery.models import Image, ImageEmbedding, State
from gallery.query import (
    Band,
    Hit,
    ImageTerm,
    Leg,
    LegPlan,
    Page,
    PixelsTerm,
    Query,
    Term,
    TextTerm,
    filters,
)

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

    from gallery.models import ImageQuerySet


def search(query: Query, viewer: AbstractBaseUser | AnonymousUser) -> Page:
    """Answer a query with what the viewer may see.

    Raise QueryInvalid when the query cannot be answered as it stands, SearchUnavailable when the
    server cannot answer any.
    """
    started = time.perf_counter()
    space = spaces.active()
    if space is None:
        raise SearchUnavailable("Search is not available yet: no encoder has been chosen.")
    try:
        found, allowed, unknown = _found(query, viewer, space)
    except EmbeddingsError as error:
        raise SearchUnavailable(f"Search is not available: {error}") from error
    return Page(
        hits=hits(found, allowed),
        legs=(LegPlan(Leg.IMAGE, 1.0, found.plan),),
        took_ms=(time.perf_counter() - started) * 1000,
        encoder=space.title,
        unknown_words=unknown,
    )


def _found(
    query: Query, viewer: AbstractBaseUser | AnonymousUser, space: Space
) -> tuple[Neighbours, ImageQuerySet, tuple[str, ...]]:
    visible = Image.objects.visible_to(viewer)
    vector = vector_of(query.terms, space, visible)
    shown = [term.uuid for term in query.terms if isinstance(term, ImageTerm)]
    # An image is its own nearest neighbour, and no news to whoever asked for others like it.
    allowed = filters.apply(query.filter, visible).exclude(uuid__in=shown)
    found = nearest(ImageEmbedding, space, vector, k=query.k, within=allowed)
    return found, allowed, unknown_words(query.terms, space)


def vector_of(terms: tuple[Term, ...], space: Space, visible: ImageQuerySet) -> Vector:
    """Return the weighted sum of the terms' vectors, (dimensions,), of unit length."""
    vectors = np.stack([_vector_of_term(term, space, visible) for term in terms])
    weights = np.array([term.weight for term in terms], dtype=np.float32)
    try:
        return normalise(weights @ vectors)
    except VectorInvalid as error:
        raise QueryInvalid("The terms cancel each other out: nothing is left to look for.") from (
            error
        )


def unknown_words(terms: tuple[Term, ...], space: Space) -> tuple[str, ...]:
    """Return the words of the text terms that the encoder never learned."""
    texts = [term.text for term in terms if isinstance(term, TextTerm)]
    return registry.load(space).unknown_words(" ".join(texts)) if texts else ()


def hits(found: Neighbours, allowed: ImageQuerySet) -> tuple[Hit, ...]:
    """Read the images of neighbours, once more under the viewer's rights and the filter."""
    image_by_id = (
        allowed.filter(pk__in=found.ids.tolist())
        .select_related("album")
        .prefetch_related("tags")
        .distinct()
        .in_bulk()
    )
    there = [
        (image_by_id[image_id], score)
        for image_id, score in zip(found.ids.tolist(), found.scores.tolist(), strict=True)
        if image_id in image_by_id  # else deleted a moment ago
    ]
    return tuple(
        Hit(image, score, rank, Band.LIKELY) for rank, (image, score) in enumerate(there, start=1)
    )


def _vector_of_term(term: Term, space: Space, visible: ImageQuerySet) -> Vector:
    if isinstance(term, ImageTerm):
        return _stored_vector(term, space, visible)
    if isinstance(term, TextTerm):
        return text_vector(space, " ".join(term.text.split()))
    if isinstance(term, PixelsTerm):
        vector: Vector = registry.load(space).encode_images([term.pixels])[0]
        return vector
    assert_never(term)


def _stored_vector(term: ImageTerm, space: Space, visible: ImageQuerySet) -> Vector:
    image = visible.filter(uuid=term.uuid).only("pk", "state").first()
    if image is None:
        raise QueryInvalid("There is no such image to compare with, or you may not see it.")
    _, vectors = read_vectors(ImageEmbedding, space, only=np.array([image.pk], dtype=np.int64))
    if not len(vectors):
        raise QueryInvalid(
            "This image could not be embedded, so nothing can be compared with it."
            if image.state == State.FAILED
            else "This image is still being embedded; try again in a moment."
        )
    vector: Vector = vectors[0]
    return vector


@lru_cache(maxsize=4096)
def text_vector(space: Space, text: str) -> Vector:
    """Return the vector of a text; people ask the same things again and again."""
    vector: Vector = registry.load(space).encode_texts([text])[0]
    return vector
