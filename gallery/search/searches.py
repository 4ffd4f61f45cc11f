"""Searches that are kept for a while, so that their pages hold still."""

from __future__ import annotations

import logging
import re
import secrets
from dataclasses import dataclass, replace
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, NamedTuple

from django.conf import settings
from django.db.models import Exists, OuterRef

from embeddings.models import Space
from gallery.errors import SearchExpired, SearchUnavailable
from gallery.models import CaptionEmbedding, Image, ImageEmbedding
from gallery.query import EVERYTHING, Band, Leg, LegPlan, Order, Totals, filters
from gallery.search import kept, rankings
from gallery.search.bands import BANDS
from gallery.search.kept import NotKept
from gallery.search.legs import Sources
from gallery.search.packing import PackedRanking, beginning, pack, unpack
from gallery.search.prepared import PreparedQuery
from gallery.search.rankings import Ranking

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

    Viewer = AbstractBaseUser | AnonymousUser

SHAPE = 3  # of what is kept; another number after a change to it, as old ones may be in Redis
_ID = re.compile(r"[\w-]{22}", re.ASCII)  # as token_urlsafe(16) writes it
EXPIRED = "This search has expired; search again."
SILENT = "The store of searches (Redis) does not answer; try again in a moment."

# What may be kept at once: hits of a search itself, and whole rankings of a viewer. The visitors
# are one viewer. A whole ranking of 100,000 hits is up to 1.6 megabytes.
LONGEST_HEAD = 2_000
WHOLE_RANKINGS = 20
WHOLE_RANKINGS_OF_VISITORS = 200
VISITOR = "visitor"

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class KeptSearch:
    """A search: who asked, what, how it was found, and the beginning of its ranking."""

    viewer: str
    query: PreparedQuery
    plans: tuple[LegPlan, ...]
    head: Ranking
    slot: int | None = None  # where its whole ranking was put; None: it was not made yet


class StoredSearch(NamedTuple):
    """A kept search as Redis has it: its head apart."""

    search: KeptSearch  # with an empty head
    head: PackedRanking


class StoredRanking(NamedTuple):
    """A whole ranking as Redis has it. Its slot may be another search's by now."""

    search_id: str
    ranking: PackedRanking


def viewer_key(viewer: AbstractBaseUser | AnonymousUser) -> str:
    return str(viewer.pk) if viewer.is_authenticated else VISITOR


def sources_of(
    query: PreparedQuery, viewer: AbstractBaseUser | AnonymousUser, space: Space | None
) -> Sources:
    """Return where a query looks for a viewer, in its space. Raise SearchExpired without it."""
    beside = None if query.beside is None else _kept_space(query.beside)
    sees_all = query.filter == EVERYTHING and getattr(viewer, "is_superuser", False)
    # With versions there, not every image is shown.
    if sees_all and not Image.objects.filter(version_of__isnull=False).exists():
        return Sources(space, None, beside)
    shown = Image.objects.shown_to(viewer)
    return Sources(space, filters.apply(query.filter, shown, viewer), beside)


def sources_again(query: PreparedQuery, viewer: AbstractBaseUser | AnonymousUser) -> Sources:
    """Return where a kept query looks. Raise SearchExpired when its space has gone."""
    return sources_of(query, viewer, _kept_space(query))


def _kept_space(query: PreparedQuery) -> Space | None:
    """Return the space that a query was prepared in; None if in none.

    Raise SearchExpired for a retired one, whose vectors are missing, and where a restored database
    has another encoder's under its number.
    """
    if query.space_id is None:
        return None
    space = Space.objects.filter(pk=query.space_id).exclude(state=Space.State.RETIRED).first()
    if space is None or space.title != query.encoder:
        raise SearchExpired(EXPIRED)
    return space


def keep(search: KeptSearch) -> str:
    """Keep a search and return its id; "" when it cannot be kept just now."""
    search_id = secrets.token_urlsafe(16)
    try:
        if search.query.order != Order.RELEVANCE and len(search.head) > LONGEST_HEAD:
            # It had to be made to its end to be sorted.
            search = replace(search, slot=_write_whole(search_id, search, search.head))
        _write(search_id, search)
    except NotKept:
        return ""
    return search_id


def open_search(search_id: str, viewer: AbstractBaseUser | AnonymousUser) -> KeptSearch:
    """Return a kept search of this viewer.

    Raise SearchExpired, for another viewer's too, and SearchUnavailable when Redis is silent.
    """
    if not _ID.fullmatch(search_id):
        raise SearchExpired(EXPIRED)
    stored = _read(_key(search_id))
    if not isinstance(stored, StoredSearch) or stored.search.viewer != viewer_key(viewer):
        raise SearchExpired(EXPIRED)
    return replace(stored.search, head=unpack(stored.head))


def whole_ranking(
    search_id: str, search: KeptSearch, viewer: AbstractBaseUser | AnonymousUser
) -> Ranking:
    """Return the ranking to its end, or as far as rankings go; made once and then kept.

    One that is lost, or gave way to newer ones of its viewer, is not made again: it would be
    another, of today's images. Raise SearchExpired then, SearchUnavailable when Redis is silent.
    """
    if search.head.is_complete:
        return search.head
    slot = _read(_key(search_id, "slot")) if search.slot is None else search.slot
    if isinstance(slot, int):
        return _whole_at(slot, search_id, search)
    longer, _ = rankings.make_whole(search.query, sources_again(search.query, viewer))
    ranking = rankings.continued(search.head, longer)
    try:
        slot = _write_whole(search_id, search, ranking)
        if kept.write_first(_key(search_id, "slot"), slot, seconds=settings.SEARCH_KEEP_SECONDS):
            _write(search_id, replace(search, slot=slot))
            return ranking
    except NotKept:
        log.info("The whole ranking of a search is not kept.")
        return ranking
    # Somebody was quicker, and both must see the same.
    first = _read(_key(search_id, "slot"))
    return _whole_at(first, search_id, search) if isinstance(first, int) else ranking


def _write(search_id: str, search: KeptSearch) -> None:
    head = beginning(search.head, LONGEST_HEAD)
    stored = StoredSearch(replace(search, head=head.taken(slice(0, 0))), pack(head))
    kept.write(_key(search_id), stored, seconds=settings.SEARCH_KEEP_SECONDS)


def _write_whole(search_id: str, search: KeptSearch, ranking: Ranking) -> int:
    """Keep a whole ranking in the place of its viewer's oldest one, and return its slot."""
    seconds = settings.SEARCH_KEEP_SECONDS
    most = WHOLE_RANKINGS_OF_VISITORS if search.viewer == VISITOR else WHOLE_RANKINGS
    slot = kept.count(_key(search.viewer, "slots"), seconds=2 * seconds) % most
    stored = StoredRanking(search_id, pack(ranking))
    kept.write(_slot_key(search, slot), stored, seconds=seconds)
    return slot


def _whole_at(slot: int, search_id: str, search: KeptSearch) -> Ranking:
    stored = _read(_slot_key(search, slot))
    if not isinstance(stored, StoredRanking) or stored.search_id != search_id:
        raise SearchExpired(EXPIRED)
    return unpack(stored.ranking)


def _slot_key(search: KeptSearch, slot: int) -> str:
    return _key(f"{search.viewer}:{slot}", "ranking")


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
    """Return how many images the vector legs could find: all that pass and have a vector."""
    sources = sources_again(query, viewer)
    asked = [part.space_id for part in query.parts]
    vectors_by_leg = {
        Leg.IMAGE: ImageEmbedding.objects.filter(image=OuterRef("pk"), space__in=asked),
        Leg.CAPTION: CaptionEmbedding.objects.filter(
            caption__image=OuterRef("pk"), space__in=asked
        ),
    }
    has_vector = [Exists(vectors_by_leg[leg]) for leg, _ in query.weights if leg in vectors_by_leg]
    if not has_vector:
        return 0
    allowed = Image.objects.all() if sources.allowed is None else sources.allowed
    return allowed.filter(reduce(or_, has_vector)).exclude(pk__in=query.named.tolist()).count()


def _read(key: str) -> object:
    try:
        value: object = kept.read(key)
    except NotKept as error:
        raise SearchUnavailable(SILENT) from error
    return value


def _key(search_id: str, part: str = "search") -> str:
    return f"{part}-{SHAPE}:{search_id}"
