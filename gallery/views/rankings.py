"""What belongs to a ranking and is asked for after its page: totals, facets, explanations."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from gallery import facets as facet_counts
from gallery.errors import QueryInvalid, SearchExpired, SearchUnavailable
from gallery.query import Explanation, Facet
from gallery.query.fields import field_of
from gallery.query.filters import all_of
from gallery.search import explain, facets, totals
from gallery.views.chips import parts_of
from gallery.views.images import visible_image
from gallery.views.labels import HEX_BY_COLOUR
from gallery.views.requests import Request, may_search, render_page
from gallery.views.search import page_number
from gallery.views.search_form import SearchForm
from gallery.views.turning import Place, turning_by

FACETS = (
    *("tag", "album", "year", "colour", "category"),
    *("camera", "orientation", "format", "licence"),
)
TITLES = {"year": "Year taken"}
FIRST = 6  # values of a facet that are seen at once
REFUSALS = (SearchExpired, QueryInvalid, SearchUnavailable)
GONE = "These results have expired. Search again to see it."


@dataclass(frozen=True)
class FacetValue:
    label: str
    count: int
    address: str
    hex: str = ""  # of a colour


@dataclass(frozen=True)
class ShownFacet:
    title: str
    first: tuple[FacetValue, ...]
    further: tuple[FacetValue, ...]


@dataclass(frozen=True)
class Bar:
    """What one term adds to a hit's score, or takes from it, as a bar."""

    name: str
    note: str
    kind: str  # "for" or "against"
    length: float
    most: float  # the length of the longest
    figure: str


@may_search
@require_safe
def totals_part(request: Request, search_id: str) -> HttpResponse:
    """How many images the search finds, and the way to its last page: a part of its page."""
    form = SearchForm(request.GET)
    try:
        form.read()
        place = Place(form.address, search_id, page_number(request))
        turning = turning_by(totals(search_id, request.user), form.query, place)
    except (QueryInvalid, SearchExpired, SearchUnavailable):
        return HttpResponse(status=204)  # the page stays as it is, which is right as far as it goes
    return render(request, "gallery/_totals.html", {"turning": turning})


@may_search
@require_safe
def facets_part(request: Request, search_id: str) -> HttpResponse:
    """What the images of a search have in common; without script a page of its own."""
    form = SearchForm(request.GET)
    context: dict[str, Any] = {}
    status = 200
    try:
        form.read()
        context["back"] = Place(form.address, search_id, page_number(request)).own()
        found = facets(search_id, request.user, FACETS)
        total = totals(search_id, request.user).total
        context["facets"] = shown_facets(found, total, form)
    except REFUSALS as error:
        context["problem"], status = told(error)
    return render_page(
        request, "gallery/facets.html", context, part="gallery/_facets.html", status=status
    )


def told(error: SearchExpired | QueryInvalid | SearchUnavailable) -> tuple[str, int]:
    """Return the sentence and the HTTP status for what a search may answer instead of hits."""
    if isinstance(error, SearchExpired):
        return GONE, 410
    return str(error), 400 if isinstance(error, QueryInvalid) else 503


@may_search
@require_safe
def why(request: Request, search_id: str, uuid: UUID) -> HttpResponse:
    """Why an image is among the hits of a search; without script a page of its own."""
    context: dict[str, Any] = {"image": visible_image(request.user, uuid)}
    status = 200
    try:
        explanation = explain(search_id, request.user, uuid)
        context |= {
            "explanation": explanation,
            "bars": bars(explanation),
            "background": background(explanation),
        }
    except REFUSALS as error:
        context["problem"], status = told(error)
    return render_page(
        request, "gallery/why.html", context, part="gallery/_why.html", status=status
    )


def shown_facets(found: tuple[Facet, ...], total: int, form: SearchForm) -> list[ShownFacet]:
    """Return the facets with the address that each value narrows the search to.

    What all images have in common narrows nothing, so it is left out.
    """
    held = parts_of(form.query.filter)
    shown = []
    for facet in found:
        values = []
        # Years are looked for in their own order.
        counts = sorted(facet.counts, key=lambda count: count.value, reverse=True)
        for count in counts if facet.field == "year" else facet.counts:
            condition = facet_counts.condition(facet.field, count.value)
            if condition in held or count.count == total:
                continue
            query = replace(form.query, filter=all_of([*held, condition]))
            hex_ = HEX_BY_COLOUR.get(count.value, "") if facet.field == "colour" else ""
            address = str(form.address_of(query))
            values.append(FacetValue(count.label, count.count, address, hex_))
        if values:
            title = TITLES.get(facet.field) or field_of(facet.field).title
            shown.append(ShownFacet(title, tuple(values[:FIRST]), tuple(values[FIRST:])))
    return shown


def bars(explanation: Explanation) -> list[Bar]:
    most = max((abs(term.share) for term in explanation.terms), default=0.0) or 1.0
    several_legs = len({term.leg for term in explanation.terms}) > 1
    return [
        Bar(
            name=term.term,
            note=", ".join(filter(None, (term.leg if several_legs else "", term.encoder))),
            kind="for" if term.share >= 0 else "against",
            length=round(abs(term.share), 4),
            most=round(most, 4),
            figure=f"{term.share:+.3f}",
        )
        for term in explanation.terms
    ]


def background(explanation: Explanation) -> str:
    """Return how far the hit stands out, in the leading leg, of what any image scores."""
    mean, deviation = explanation.background
    score = explanation.legs[0].score
    if not deviation or score is None:
        return ""
    distance = (score - mean) / deviation
    return (
        f"Any image scores about {mean:.3f} here, give or take {deviation:.3f}: "
        f"this one stands out by {distance:.1f} times that."
    )
