"""Search by words, by an image that is sent, and by an image of the gallery."""

from __future__ import annotations

import uuid
from typing import Annotated

from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from ninja import File, Form, Query, Router, Schema, UploadedFile
from ninja.decorators import decorate_view
from pydantic import Field

from gallery import inspection
from gallery.api.auth import READERS
from gallery.api.fields import AlbumName, Day, TagNames, Text
from gallery.api.limits import at_most
from gallery.api.schemas import Problem, SearchAnswer
from gallery.models import Image, Visibility
from gallery.query import Filter, ImageTerm, PixelsTerm, Term, TextTerm, conditions
from gallery.query import Query as SearchQuery
from gallery.search import search

router = Router(tags=["search"], auth=READERS)

REFUSALS = dict.fromkeys((400, 401, 404, 413, 422, 503), Problem)


class FilterFields(Schema):
    """Conditions on the record."""

    tag: TagNames = Field([], description="Repeatable: the image has all of them.")
    album: AlbumName = ""
    taken_after: Day | None = Field(None, description="That day and later.")
    taken_before: Day | None = Field(None, description="That day and earlier.")
    visibility: Visibility | None = None

    def as_filter(self) -> Filter:
        return conditions(
            tags=tuple(self.tag),
            album=self.album,
            taken_after=self.taken_after,
            taken_before=self.taken_before,
            visibility=self.visibility or "",
        )


class SearchFields(FilterFields):
    """What to look for. A text and an image together are one query with two terms."""

    q: Text | None = Field(None, description="Words that describe the wanted image.")
    similar_to: uuid.UUID | None = Field(None, description="Id of an image of the gallery.")
    k: int = Field(24, description="How many hits.")


@router.get("/search", response={200: SearchAnswer, **REFUSALS})
def search_images(request: HttpRequest, fields: Query[SearchFields]) -> SearchAnswer:
    """Find images by words, or by their likeness to one of the gallery."""
    return _answer(request, fields)


@router.post("/search", response={200: SearchAnswer, **REFUSALS})
@decorate_view(at_most(files=1))
def search_by_image(
    request: HttpRequest,
    fields: Form[SearchFields],
    image: Annotated[UploadedFile | None, File(description="What to find the like of.")] = None,
) -> SearchAnswer:
    """Find images by an image that is sent; nothing of it is kept."""
    return _answer(request, fields, image)


def _answer(
    request: HttpRequest, fields: SearchFields, image: UploadedFile | None = None
) -> SearchAnswer:
    terms: list[Term] = []
    if fields.q is not None:
        terms.append(TextTerm(fields.q))
    if image is not None:
        shown = inspection.open_image(image, edge=inspection.QUERY_EDGE)
        terms.append(PixelsTerm(shown.pixels))
    if fields.similar_to is not None:
        visible = Image.objects.visible_to(request.user)
        terms.append(ImageTerm(get_object_or_404(visible, uuid=fields.similar_to).uuid))
    query = SearchQuery(terms=tuple(terms), filter=fields.as_filter(), k=fields.k)
    return SearchAnswer.of(search(query, request.user))
