"""Searches that are kept for a while, so that their pages hold still."""

from __future__ import annotations

import logging
import re
import secrets
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from django.conf import settings

from embeddings.models import Space
from gallery.errors import SearchExpired
from gallery.models import Image, ImageEmbedding
from gallery.query import EVERYTHING, Band, Leg, LegPlan, Totals, filters
from gallery.search import kept, rankings
from gallery.search.bands import BANDS
from gallery.search.kept import NotKept
from gallery.search.legs import Sources
from gallery.search.prepared import PreparedQuery
from gallery.search.rankings import Ranking

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

    Viewer = AbstractBaseUser | AnonymousUser

SHAPE = 1  # of what is kept; another number after a change to it, as old ones may be in Redis
_ID = re.compile(r"[\w-]{22}", re.ASCII)  # as token_urlsafe(16) writes it
EXPIRED = "This search has expired; search again."

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class KeptSearch:
    """A search: who asked, what, how it was found, and the beginning of its ranking."""

    viewer: str
    query: PreparedQuery
    plans: tuple[LegPlan, ...]
    head: Ranking


def viewer_key(viewer: AbstractBaseUser | AnonymousUser) -> str:
    return str(viewer.pk) if viewer.is_authenticated else "visitor"


def sources_of(
    query: PreparedQuery, viewer: AbstractBaseUser | AnonymousUser, space: Space | None
) -> Sources:
    """Return where a query looks for a viewer, in its space."""
    if query.filter == EVERYTHING and getattr(viewer, "is_superuser", False):
        return Sources(space, None)
    visible = Image.objects.visible_to(viewer)
    return Sources(space, filters.apply(query.filter, visible, viewer))


def sources_again(query: PreparedQuery, viewer: AbstractBaseUser | AnonymousUser) -> Sources:
    """Return where a kept query looks. Raise SearchExpired when its space has gone."""
    space = Space.objects.filter(pk=query.space_id).first() if query.space_id else None
    if query.space_id and space is None:
        raise SearchExpired(EXPIRED)
    return sources_of(query, viewer, space)


def keep(search: KeptSearch) -> str:
    """Keep a search and return its id; "" when it cannot be kept just now."""
    search_id = secrets.token_urlsafe(16)
    try:
        kept.write(_key(search_id), search, seconds=settings.SEARCH_KEEP_SECONDS)
    except NotKept:
        return ""
    return search_id


def open_search(search_id: str, viewer: AbstractBaseUser | AnonymousUser) -> KeptSearch:
    """Return a kept search of this viewer. Raise SearchExpired, for another viewer's too."""
    if not _ID.fullmatch(search_id):
        raise SearchExpired(EXPIRED)
    search = _read(_key(search_id))
    if not isinstance(search, KeptSearch) or search.viewer != viewer_key(viewer):
        raise SearchExpired(EXPIRED)
    return search


def whole_ranking(
    search_id: str, search: KeptSearch, viewer: AbstractBaseUser | AnonymousUser
) -> Ranking:
    """Return the ranking to its end, or as far as rankings go; made once and then kept."""
    if search.head.is_complete:
        return search.head
    key = _key(search_id, "ranking")
    known = _read(key)
    if isinstance(known, Ranking):
        return known
    longer, _ = rankings.make_whole(search.query, sources_again(search.query, viewer))
    ranking = rankings.continued(search.head, longer)
    try:
        if kept.write_first(key, ranking, seconds=settings.SEARCH_KEEP_SECONDS):
            return ranking
    except NotKept as error:
        raise SearchExpired(EXPIRED) from error
    # Somebody was quicker, and both must see the same.
    first = _read(key)
    return first if isinstance(first, Ranking) else ranking


def totals_of(
    search_id: str, search: KeptSearch, viewer: AbstractBaseUser | AnonymousUser
) -> Totals:
    """Count the hits of the whole ranking, and those that the bands leave out."""
    key = _key(search_id, "totals")
    known = _read(key)
    if isinstance(known, Totals):
        return known
    ranking = whole_ranking(search_id, search, viewer)
    likely, maybe, unlikely = _counts(search.query, ranking, viewer)
    is_capped = not ranking.is_complete
    if search.query.min_score is None:
        comparable = _comparable(search.query, viewer)
        is_capped = is_capped and comparable != likely + maybe + unlikely  # else all were found
        unlikely = max(unlikely, comparable - likely - maybe)
    totals = Totals(
        total=len(ranking),
        by_band=dict(zip(BANDS, (likely, maybe, unlikely), strict=True)),
        is_capped=is_capped,
    )
    try:
        kept.write_first(key, totals, seconds=settings.SEARCH_KEEP_SECONDS)
    except NotKept:
        log.info("The totals of a search are not kept.")
    return totals


def _counts(
    query: PreparedQuery, ranking: Ranking, viewer: AbstractBaseUser | AnonymousUser
) -> tuple[int, int, int]:
    """Return the hits of each band, as far as they were looked at."""
    if query.least_band != Band.LIKELY:
        return ranking.by_band
    # The ranking ends where maybe begins.
    longer, _ = rankings.make_whole(
        replace(query, least_band=Band.MAYBE), sources_again(query, viewer)
    )
    return longer.by_band


def _comparable(query: PreparedQuery, viewer: AbstractBaseUser | AnonymousUser) -> int:
    """Return how many images a vector leg could find: all that pass and have a vector."""
    sources = sources_again(query, viewer)
    if not any(leg == Leg.IMAGE for leg, _ in query.weights):
        return 0
    embedded = ImageEmbedding.objects.filter(space=sources.space)
    if sources.allowed is not None:
        embedded = embedded.filter(image__in=sources.allowed)
    return embedded.exclude(image__in=query.named.tolist()).count()


def _read(key: str) -> object:
    try:
        value: object = kept.read(key)
    except NotKept as error:
        raise SearchExpired(EXPIRED) from error
    return value


def _key(search_id: str, part: str = "search") -> str:
    return f"{part}-{SHAPE}:{search_id}"
