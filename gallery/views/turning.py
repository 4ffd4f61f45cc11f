"""What the results' part shows beside the hits: bands, counts, and the ways to other pages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING

from django.urls import reverse

from gallery.query import EVERYTHING, Aggregate, Band, Leg, Mode, Order, Query

if TYPE_CHECKING:
    from gallery.query import Hit, Page, Totals
    from gallery.views.addresses import Address

# "Show more" makes the page longer. One that has grown so often offers to be turned instead, so
# that a long search does not fill the browser's memory.
PAGES_IN_ONE = 10
NUMBERS_BESIDE = 2

TITLES = {Band.LIKELY: "Likely", Band.MAYBE: "Maybe", Band.UNLIKELY: "Unlikely"}
MEANINGS = {
    Band.LIKELY: "these stand out clearly",
    Band.MAYBE: "these may or may not be what you look for",
    Band.UNLIKELY: "these score no higher than just any image",
}
ORDERS = {
    Order.RELEVANCE: "nearest first",
    Order.TAKEN: "oldest first",
    Order.NEWEST_TAKEN: "newest first",
    Order.ADDED: "first added first",
    Order.NEWEST_ADDED: "last added first",
    Order.NAME: "by file name",
    Order.NAME_BACKWARDS: "by file name, backwards",
    Order.SIZE: "smallest first",
    Order.LARGEST: "largest first",
}
COSINE = "Score: cosine similarity, higher is better"
WORDS = "Score: how well the words fit, higher is better"
NEAREST_TERM = "Score: cosine similarity to the nearest part of the query, higher is better"
FUSED = "Score: the sum of weight / (60 + rank) over the fused rankings, higher is better"


@dataclass(frozen=True)
class Part:
    """Hits of one band that follow one another, with what stands above them."""

    band: Band
    hits: tuple[Hit, ...]
    divider: str = ""
    meaning: str = ""


@dataclass(frozen=True)
class Link:
    text: str
    address: str


@dataclass(frozen=True, kw_only=True)
class Turning:
    """A page's place in its search."""

    sentence: str
    order: str = ""
    score_title: str = ""
    parts: tuple[Part, ...] = ()
    is_mixed: bool = False  # the bands lie among one another: each hit says its own
    previous: str = ""
    next: str = ""
    numbers: tuple[tuple[int | None, str], ...] = ()  # None: some are left out; "": this page
    show_more: str = ""
    totals_address: str = ""
    facets_address: str = ""
    wider: Link | None = None


@dataclass(frozen=True, kw_only=True)
class Nothing:
    """Why a page has no hits, and what may help."""

    title: str
    reason: str
    first_page: str = ""
    next_page: str = ""
    wider: Link | None = None


@dataclass(frozen=True)
class Place:
    """A page of a search, as far as its address goes."""

    address: Address  # of the search as it was asked
    search_id: str
    number: int

    def of_page(self, number: int) -> str:
        return str(self.address.plus("search", self.search_id).plus("page", number))

    def own(self) -> str:
        return self.of_page(self.number)

    def beside(self, view: str) -> str:
        """Return the address of what belongs to this ranking: its totals or its facets."""
        address = self.address.plus("page", self.number) if self.number > 1 else self.address
        return address.at(reverse(view, args=[self.search_id])) if self.search_id else ""


def turning_of(page: Page, query: Query, address: Address, *, after: str = "") -> Turning:
    """Return a page's place before the totals are known.

    `after` is the band of the hit that the page's hits are put after, if any.
    """
    place = Place(address, page.search_id, page.number)
    is_mixed = page.is_fused or query.order != Order.RELEVANCE or query.diversity > 0
    turning = Turning(
        sentence=sentence_of_page(page),
        order=order_of(page, query),
        score_title=score_title_of(page, query),
        parts=tuple(_parts(page.hits, is_mixed=is_mixed, after=after)),
        is_mixed=is_mixed,
        totals_address=place.beside("search-totals"),
        facets_address=place.beside("search-facets"),
        wider=wider(query, address),
    )
    if not page.search_id:
        return turning
    if page.has_more and page.number % PAGES_IN_ONE:
        last_band = page.hits[-1].band if page.hits else Band.LIKELY
        more = address.plus("search", page.search_id).plus("page", page.number + 1)
        turning = replace(turning, show_more=str(more.plus("after", last_band)))
    return _with_pages(turning, place, last=page.number + page.has_more, is_last_known=False)


def turning_by(totals: Totals, query: Query, place: Place) -> Turning:
    """Return a page's place once the totals are known; its hits are not part of it."""
    turning = Turning(sentence=sentence_of(totals), wider=wider(query, place.address, totals))
    last = max(1, -(-totals.total // query.k))
    return _with_pages(turning, place, last=last, is_last_known=True)


def nothing_of(page: Page, query: Query, address: Address, totals: Totals | None) -> Nothing:
    """Return why there is nothing on a page: every image has some likeness to a query."""
    place = Place(address, page.search_id, page.number)
    if page.number > 1 or page.has_more:
        return Nothing(
            title="The images of this page are gone",
            reason="They were deleted or hidden after this search was made.",
            first_page=place.of_page(1) if page.number > 1 else "",
            next_page=place.of_page(page.number + 1) if page.has_more else "",
        )
    link = wider(query, address, totals) if totals else None
    if link:
        reason = "No image stands out from what just any image scores here."
        if query.filter != EVERYTHING:
            reason = "No image that passes the filters stands out from what just any image scores."
    elif query.mode == Mode.KEYWORD:
        link = Link("Look for what images show instead", str(address.without("mode")))
        reason = "No caption, tag or file name has these words" + (
            "." if query.filter == EVERYTHING else ", or no image that has them passes the filters."
        )
    elif query.filter != EVERYTHING:
        reason = "Either no image passes the filters, or none that does is embedded yet."
    else:
        reason = "There is no image yet that could be compared with this."
    return Nothing(title="Nothing found", reason=reason, wider=link)


def order_of(page: Page, query: Query) -> str:
    if query.order != Order.RELEVANCE:
        return ORDERS[query.order]
    if query.diversity > 0:
        return "varied"
    return "best first" if page.is_fused or query.mode == Mode.KEYWORD else "nearest first"


def score_title_of(page: Page, query: Query) -> str:
    if page.is_fused and len(page.legs) == 1 and query.aggregate == Aggregate.MAX:
        return NEAREST_TERM
    if page.is_fused:
        return FUSED
    return WORDS if page.legs[0].leg == Leg.KEYWORD else COSINE


def wider(query: Query, address: Address, totals: Totals | None = None) -> Link | None:
    """Return the link to the same search with one band more, and how many images that adds."""
    if query.least_band == Band.UNLIKELY or query.mode == Mode.KEYWORD:
        return None
    band = Band.MAYBE if query.least_band == Band.LIKELY else Band.UNLIKELY
    wider_address = address.without("band")
    if band != Query.least_band:
        wider_address = wider_address.plus("band", band)
    name = "unlikely" if band == Band.UNLIKELY else "only maybe what you look for"
    if totals is None:
        return Link(f"Show what is {name}, too", str(wider_address))
    count = totals.by_band.get(band, 0)
    if not count:
        return None
    be, them = ("is", "it") if count == 1 else ("are", "them")
    return Link(f"{count:,} more {be} {name}: show {them}", str(wider_address))


def sentence_of(totals: Totals) -> str:
    """Return "128 images: 40 likely, 88 maybe"."""
    total = f"{totals.total:,} image{'' if totals.total == 1 else 's'}"
    if totals.is_capped:
        total = f"More than {total}"
    return total + _by_band(totals.by_band, totals.total)


def sentence_of_page(page: Page) -> str:
    """Return the same of a page alone, as long as no more is known."""
    if page.number == 1 and not page.has_more:
        counts = dict.fromkeys(Band, 0)
        for hit in page.hits:
            counts[hit.band] += 1
        total = len(page.hits)
        return f"{total} image{'' if total == 1 else 's'}" + _by_band(counts, total)
    if page.number == 1:
        return f"The first {len(page.hits)} images" if len(page.hits) > 1 else "The first image"
    return f"Images {page.hits[0].rank:,} to {page.hits[-1].rank:,}" if page.hits else "Images"


def _by_band(counts: dict[Band, int], total: int) -> str:
    """Return ": 40 likely, 88 maybe" of the bands that make up the total, as far as they go."""
    shown: list[str] = []
    rest = total
    for band in Band:
        if rest > 0 and counts.get(band):
            shown.append(f"{counts[band]:,} {band}")
            rest -= counts[band]
    return f": {', '.join(shown)}" if shown else ""


def _parts(hits: tuple[Hit, ...], *, is_mixed: bool, after: str) -> Iterator[Part]:
    if is_mixed:
        if hits:
            yield Part(hits[0].band, hits)
        return
    for band, group in groupby(hits, key=lambda hit: hit.band):
        # What is likely needs no heading: it is what was asked for.
        is_divided = band != after and (band != Band.LIKELY or bool(after))
        title, meaning = (TITLES[band], MEANINGS[band]) if is_divided else ("", "")
        yield Part(band, tuple(group), title, meaning)
        after = band


def _with_pages(turning: Turning, place: Place, *, last: int, is_last_known: bool) -> Turning:
    number = place.number
    near = range(max(1, number - NUMBERS_BESIDE), min(last, number + NUMBERS_BESIDE) + 1)
    shown: list[int | None] = [*near]
    if near.start > 1:
        shown = [1, *([None] if near.start > 2 else []), *shown]
    if near.stop <= last:
        shown += [*([None] if near.stop < last else []), last]
    if not is_last_known and last > number:
        shown.append(None)
    return replace(
        turning,
        previous=place.of_page(number - 1) if number > 1 else "",
        next=place.of_page(number + 1) if number < last else "",
        numbers=tuple(
            (shown_number, "" if shown_number in (None, number) else place.of_page(shown_number))
            for shown_number in shown
        ),
    )
