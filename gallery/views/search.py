"""The search page: by words, by a shown image, by an image of the gallery; or the newest."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from django.db.models import Exists, OuterRef, Q
from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_http_methods
from django_htmx.http import push_url

from gallery import thumbnails
from gallery.errors import ImageRefused, QueryInvalid, SearchUnavailable
from gallery.models import Album, Image, Tag
from gallery.query import MAX_K, PixelsTerm, filters
from gallery.search import search
from gallery.views.requests import Request, may_search, render_page
from gallery.views.search_form import SearchForm

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User
    from PIL.Image import Image as Pixels

PAGE = 36
SUGGESTIONS = 200
PREVIEW_PIXELS = 192


@may_search
@require_http_methods(["GET", "HEAD", "POST"])
def search_page(request: Request) -> HttpResponse:
    form = SearchForm(request.POST or request.GET, request.FILES)
    context: dict[str, Any] = {"form": form, **suggestions(request.user)}
    status = 200
    try:
        form.check()
        if form.has_terms or request.method == "POST":
            context |= results(form, request)
        else:
            context |= newest(form, request)
    except (QueryInvalid, ImageRefused) as error:
        context["problem"], status = str(error), 400
    except SearchUnavailable as error:
        context["unavailable"], status = str(error), 503
    is_continued = "before" in request.GET
    part = "gallery/_more.html" if is_continued else "gallery/_search.html"
    response = render_page(request, "gallery/search.html", context, part=part, status=status)
    return response if is_continued else push_url(response, form.address())


def results(form: SearchForm, request: Request) -> dict[str, Any]:
    """Answer the form's query for the viewer: what the results' part shows.

    Raise Http404 for an image to be similar to that the viewer may not see.
    """
    context: dict[str, Any] = {}
    if uuid := form.cleaned_data["similar_to"]:
        visible = Image.objects.visible_to(request.user)
        context["source"] = get_object_or_404(visible, uuid=uuid)
    query = form.as_query()
    for term in query.terms:
        if isinstance(term, PixelsTerm):
            context["preview"] = preview(term.pixels)
    page = search(query, request.user)
    if len(page.hits) == query.k < MAX_K:
        more_k = min(MAX_K, query.k * 2)
        context |= {"more": form.address(k=more_k), "more_k": more_k}
    return {**context, "page": page}


def newest(form: SearchForm, request: Request) -> dict[str, Any]:
    """Return the newest images that pass the filter, from the one after `before`."""
    visible = Image.objects.visible_to(request.user)
    images = filters.apply(form.as_filter(), visible)
    if uuid := form.cleaned_data["before"]:
        last = get_object_or_404(visible, uuid=uuid)
        images = images.filter(
            Q(added_at__lt=last.added_at) | Q(added_at=last.added_at, id__lt=last.id)
        )
    found = list(images.order_by("-added_at", "-id")[: PAGE + 1])
    shown = found[:PAGE]
    context: dict[str, Any] = {"images": shown}
    if len(found) > PAGE:
        context["more"] = form.address(before=shown[-1].uuid)
    return context


def suggestions(viewer: User | AnonymousUser) -> dict[str, Any]:
    """Return names for the filter's inputs, asked for only if the template shows them.

    Names that only hidden images bear stay hidden.
    """
    visible = Image.objects.visible_to(viewer)
    tags = Tag.objects.filter(Exists(visible.filter(tags=OuterRef("pk"))))
    albums = Album.objects.filter(Exists(visible.filter(album=OuterRef("pk"))))
    return {
        "tag_names": tags.values_list("name", flat=True)[:SUGGESTIONS],
        "album_names": albums.values_list("name", flat=True).distinct()[:SUGGESTIONS],
    }


def preview(pixels: Pixels) -> str:
    """Return a small copy of the shown image as a data: URL; nothing of it is stored."""
    webp = base64.b64encode(thumbnails.make(pixels, PREVIEW_PIXELS))
    return f"data:image/webp;base64,{webp.decode()}"
