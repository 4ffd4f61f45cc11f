"""Search by words, by an image that is sent, and by images of the gallery; and what follows."""

from __future__ import annotations

import json
import uuid
from typing import Annotated, Any

from django.http import HttpRequest, HttpResponse, QueryDict
from ninja import File, Form, Query, Router, Schema, UploadedFile
from ninja.decorators import decorate_view
from pydantic import Field

from gallery import facets as facet_counts
from gallery import inspection, saved_searches
from gallery.api.answers import (
    ExplanationRecord,
    FacetRecord,
    SearchAnswer,
    TotalsRecord,
)
from gallery.api.auth import READERS, writer
from gallery.api.limits import at_most_one_image
from gallery.api.schemas import Problem
from gallery.decoding import decoders
from gallery.errors import QueryInvalid
from gallery.models import Image
from gallery.query import Filter, Page, PixelsTerm, Term, filters, forms
from gallery.search import explain, facets, search, totals, turn

router = Router(tags=["search"], auth=READERS)

REFUSALS = dict.fromkeys((400, 401, 404, 410, 413, 422, 503), Problem)
MAX_FACETS = 12


# The fields below tell people and programs what there is. `gallery.query.forms` reads the request:
# its sentences are the same for every way in.


class FilterFields(Schema):
    """Conditions on the record."""

    tag: list[str] = Field([], description="Repeatable: the image has all of them.")
    album: str = ""
    taken_after: str = Field("", description="That day and later: 2024-12-31.")
    taken_before: str = Field("", description="That day and earlier.")
    visibility: str = Field("", description="public or private.")
    filter: str = Field("", description="The filter language: `tag:boat AND NOT taken<2024`.")


class SearchFields(FilterFields):
    """What to look for. All terms together are one query."""

    q: list[str] = Field([], description="Words that describe the wanted image. Repeatable.")
    weight: list[str] = Field([], description="Of each `q`, in their order; 1 if none is given.")
    without: list[str] = Field([], description="Words for what it should not show. Repeatable.")
    similar_to: list[str] = Field([], description="Id of an image of the gallery. Repeatable.")
    similar_to_weight: list[str] = Field([], description="Of each `similar_to`.")
    good: list[str] = Field([], description="Ids of images that are what is meant.")
    bad: list[str] = Field([], description="Ids of images that are not.")
    mode: str = Field("semantic", description="semantic, keyword or hybrid.")
    legs: str = Field("", description="Weights of the legs: `image:1,caption:0.5,keyword:1`.")
    aggregate: str = Field("mean", description="Of several terms: mean, max or rrf.")
    encoders: str = Field("active", description="active, or both: fused with the second space.")
    order: str = Field(
        "relevance", description="relevance, taken, added, name or size; - turns it round."
    )
    diversity: str = Field("0", description="From 0, by score alone, to 1.")
    band: str = Field("maybe", description="Least band of a hit: likely, maybe or unlikely.")
    min_score: str = Field("", description="Least cosine similarity of a hit.")
    k: str = Field("24", description="Hits a page, 1 to 1000.")


class ImageFields(SearchFields):
    image_weight: str = Field("1", description="Of the image that is sent.")


class SavedField(Schema):
    saved: str = Field("", description="Name of a saved search of yours, instead of all else.")


@router.get("/search", response={200: SearchAnswer, **REFUSALS})
def search_images(
    request: HttpRequest, fields: Query[SearchFields], saved: Query[SavedField]
) -> HttpResponse:
    """Find images by words, or by their likeness to some of the gallery."""
    if name := request.GET.get("saved"):
        query = saved_searches.query_of(saved_searches.find(writer(request), name))
    else:
        query = forms.from_parameters(_lists(request.GET), extra=("saved",))
    return _sent(search(query, request.user))


@router.post("/search", response={200: SearchAnswer, **REFUSALS})
@decorate_view(at_most_one_image())
def search_by_image(
    request: HttpRequest,
    fields: Form[ImageFields],
    image: Annotated[UploadedFile | None, File(description="What to find the like of.")] = None,
) -> HttpResponse:
    """Find images by an image that is sent, or by a query in JSON; nothing of it is kept."""
    if request.GET:
        raise QueryInvalid("A POST has its parameters in its body, none in its address.")
    if request.content_type == "application/json":
        query = forms.from_json(_json(request))
    else:
        given = _lists(request.POST)
        weight = given.pop("image_weight", [])
        _check_files(request)
        query = forms.from_parameters(given, terms=_shown(image, weight))
    return _sent(search(query, request.user))


@router.get("/search/{search_id}", response={200: SearchAnswer, **REFUSALS})
def get_page(request: HttpRequest, search_id: str, page: int = 1) -> HttpResponse:
    """Tell a page of a search's ranking; it holds still while images come and go."""
    _check_names(request.GET, ("page",))
    return _sent(turn(search_id, request.user, number=page))


@router.get("/search/{search_id}/totals", response={200: TotalsRecord, **REFUSALS})
def get_totals(request: HttpRequest, search_id: str) -> TotalsRecord:
    """Count what a search finds, by band."""
    return TotalsRecord.of(totals(search_id, request.user))


@router.get("/search/{search_id}/facets", response={200: list[FacetRecord], **REFUSALS})
def get_facets(
    request: HttpRequest,
    search_id: str,
    field: Query[list[str]],
) -> list[FacetRecord]:
    """Count the values of some fields among a search's hits."""
    counted = facets(search_id, request.user, _some_facets(field))
    return [FacetRecord.of(facet) for facet in counted]


@router.get("/search/{search_id}/why/{uuid:image}", response={200: ExplanationRecord, **REFUSALS})
def get_explanation(request: HttpRequest, search_id: str, image: uuid.UUID) -> ExplanationRecord:
    """Tell why an image is among a search's hits."""
    return ExplanationRecord.of(explain(search_id, request.user, image))


@router.get("/facets", response={200: list[FacetRecord], **REFUSALS})
def get_facets_of_filter(
    request: HttpRequest, field: Query[list[str]], fields: Query[FilterFields]
) -> list[FacetRecord]:
    """Count the values of some fields among all images that pass a filter."""
    visible = Image.objects.visible_to(request.user)
    wanted = filter_of(request.GET, extra=("field",))
    images = filters.apply(wanted, visible, request.user)
    return [
        FacetRecord.of(facet_counts.count(images, one, request.user)) for one in _some_facets(field)
    ]


def filter_of(parameters: QueryDict, *, extra: tuple[str, ...]) -> Filter:
    """Return the filter of a request that has no query. `extra` are its other parameters."""
    _check_names(parameters, (*FilterFields.model_fields, *extra))
    return forms.filter_of(_lists(parameters))


def _check_names(parameters: QueryDict, known: tuple[str, ...]) -> None:
    for name in parameters:
        if name not in known:
            raise QueryInvalid(f"There is no “{name[:60]}” here; there are {', '.join(known)}.")


def _check_files(request: HttpRequest) -> None:
    if set(request.FILES) - {"image"} or len(request.FILES.getlist("image")) > 1:
        raise QueryInvalid("A search takes one file, as “image”.")


def _sent(page: Page) -> HttpResponse:
    # As it is: ninja would check once more each field of an answer that we have just made.
    content = SearchAnswer.of(page).model_dump_json()
    return HttpResponse(content, content_type="application/json; charset=utf-8")


def _some_facets(fields: list[str]) -> tuple[str, ...]:
    if len(fields) > MAX_FACETS:
        raise QueryInvalid(f"At most {MAX_FACETS} fields are counted at once.")
    return tuple(dict.fromkeys(fields))


def _lists(parameters: QueryDict) -> dict[str, list[str]]:
    return {name: [str(value) for value in values] for name, values in parameters.lists()}


def _shown(image: UploadedFile | None, weight: list[str]) -> tuple[Term, ...]:
    if image is None:
        return ()
    pixels = decoders.open_new(image, edge=inspection.QUERY_EDGE)
    return (PixelsTerm(pixels, _weight(weight)),)


def _weight(given: list[str]) -> float:
    try:
        return float(given[-1]) if given and given[-1].strip() else 1.0
    except ValueError as error:
        raise QueryInvalid("“image_weight” must be a number.") from error


def _json(request: HttpRequest) -> Any:
    try:
        return json.loads(request.body)
    except ValueError as error:
        raise QueryInvalid("The request's body is not JSON.") from error
    except RecursionError as error:
        raise QueryInvalid("The request's body is nested too deep.") from error
