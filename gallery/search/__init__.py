"""The way of a search: terms become vectors, the filter a queryset, neighbours hits in bands.

A search has an id. Its ranking is kept for a while, so that its pages hold still while images come
and go; it is as long as it has to be for the page that is asked for.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import UUID

from embeddings.errors import EmbeddingsError
from gallery import spaces
from gallery.errors import QueryInvalid, SearchUnavailable
from gallery.facets import count
from gallery.models import Image
from gallery.patience import patience
from gallery.query import Explanation, Facet, Page, Query, Totals
from gallery.search import explanations, rankings, reading, recent, searches
from gallery.search.legs import with_limits
from gallery.search.preparation import prepare
from gallery.search.searches import KeptSearch
from gallery.search.vectors import text_vector

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

    from gallery.search.rankings import Ranking

__all__ = ["explain", "facets", "search", "text_vector", "totals", "turn"]


def search(query: Query, viewer: AbstractBaseUser | AnonymousUser) -> Page:
    """Answer a query with what the viewer may see: the first page of its ranking.

    Raise QueryInvalid when the query cannot be answered as it stands, SearchUnavailable when the
    server cannot answer any.
    """
    started = time.perf_counter()
    with _unavailable():
        space = spaces.active_lately()
        prepared = prepare(query, viewer, space)
        sources = searches.sources_of(prepared, viewer, space)
        head, found = rankings.make_first(prepared, sources)
    recent.remember(query)
    kept = KeptSearch(
        viewer=searches.viewer_key(viewer),
        query=with_limits(prepared, found),
        plans=tuple(leg.as_plan for leg in found),
        head=head,
    )
    return _page(kept, head, viewer, 1, started, search_id=searches.keep(kept))


def turn(search_id: str, viewer: AbstractBaseUser | AnonymousUser, *, number: int) -> Page:
    """Return a page, the first is 1, of the ranking that a search began.

    Images deleted or hidden since leave gaps; ranks and pages hold still. Raise SearchExpired when
    the search is no longer kept, or is another viewer's, QueryInvalid for a page past the last.
    """
    started = time.perf_counter()
    kept = searches.open_search(search_id, viewer)
    if number < 1:
        raise QueryInvalid("Pages are numbered from 1.")
    ranking = kept.head
    if len(ranking) <= number * kept.query.k:
        with _unavailable():
            ranking = searches.whole_ranking(search_id, kept, viewer)
    last = max(1, -(-len(ranking) // kept.query.k))
    if number > last:
        raise QueryInvalid(f"The last page of this search is {last}.")
    return _page(kept, ranking, viewer, number, started, search_id=search_id)


def totals(search_id: str, viewer: AbstractBaseUser | AnonymousUser) -> Totals:
    """Count the hits of a search, and those that its bands leave out. Raise SearchExpired."""
    kept = searches.open_search(search_id, viewer)
    with _unavailable():
        return searches.totals_of(search_id, kept, viewer)


def facets(
    search_id: str, viewer: AbstractBaseUser | AnonymousUser, fields: tuple[str, ...]
) -> tuple[Facet, ...]:
    """Count the values of some fields among the hits of a search.

    Raise SearchExpired, and QueryInvalid for a field that has no facet.
    """
    kept = searches.open_search(search_id, viewer)
    with _unavailable():
        ranking = searches.whole_ranking(search_id, kept, viewer)
    return tuple(count(Image.objects.all(), field, viewer, ids=ranking.ids) for field in fields)


def explain(
    search_id: str, viewer: AbstractBaseUser | AnonymousUser, image_uuid: UUID
) -> Explanation:
    """Say why an image is among the hits of a search.

    Raise SearchExpired, Image.DoesNotExist for an image that is gone or hidden, QueryInvalid for
    one that is no hit.
    """
    kept = searches.open_search(search_id, viewer)
    image = Image.objects.visible_to(viewer).defer("full_text").get(uuid=image_uuid)
    with _unavailable():
        ranking = kept.head
        if image.pk not in ranking.ids:
            ranking = searches.whole_ranking(search_id, kept, viewer)
        return explanations.explain(
            kept, ranking, image, searches.sources_again(kept.query, viewer)
        )


def _page(
    kept: KeptSearch,
    ranking: Ranking,
    viewer: AbstractBaseUser | AnonymousUser,
    number: int,
    started: float,
    *,
    search_id: str,
) -> Page:
    k = kept.query.k
    first = (number - 1) * k
    hits = reading.hits(ranking.taken(slice(first, first + k)), viewer, first=first + 1)
    return Page(
        hits=hits,
        legs=kept.plans,
        took_ms=(time.perf_counter() - started) * 1000,
        encoder=kept.query.encoders,
        notice=kept.query.notice,
        unknown_words=kept.query.unknown_words,
        search_id=search_id,
        number=number,
        has_more=len(ranking) > first + k or (ranking is kept.head and not ranking.is_complete),
        is_fused=kept.query.is_fused,
    )


@contextmanager
def _unavailable() -> Iterator[None]:
    try:
        with patience():
            yield
    except EmbeddingsError as error:
        raise SearchUnavailable(f"Search is not available: {error}") from error
