"""The search page: by words, by a shown image, by an image of the gallery; or the newest."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from django.db.models import Exists, OuterRef, Q
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe
from django_htmx.http import push_url, reswap, retarget

from gallery import thumbnails
from gallery.errors import (
    ImageRefused,
    QueryInvalid,
    SearchExpired,
    SearchUnavailable,
    StorageUnavailable,
)
from gallery.models import Album, Image, Tag
from gallery.patience import patience
from gallery.query import ImageTerm, filters
from gallery.query.values import image_id
from gallery.request_limits import RequestLimit, image_bytes, image_bytes_of_visitors, limited
from gallery.search import search, totals, turn
from gallery.views.chips import Chip
from gallery.views.requests import Request, may_search, render_page
from gallery.views.search_form import SearchForm
from gallery.views.turning import Nothing, Place, nothing_of, turning_of

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User
    from PIL.Image import Image as Pixels

    from gallery.query import Page

PAGE = 36  # of the newest images
MAX_PAGE = 10**6
SUGGESTIONS = 200
PREVIEW_PIXELS = 192

ANEW = "The results you were looking at had expired, so this is the same search, made anew."
NOT_KEPT = "The image you had shown is not kept. Choose it again to search by it."
EXPIRED = "Results are kept for an hour. Search again."
EXPIRED_BY_IMAGE = "Results are kept for an hour, an image you show not at all. Choose it again."


@limited(RequestLimit(users=image_bytes, visitors=image_bytes_of_visitors))
@may_search
@require_http_methods(["GET", "HEAD", "POST"])
def search_page(request: Request) -> HttpResponse:
    # A posted image may go to the address of a refined search, which then says all the rest.
    form = SearchForm(request.GET or request.POST, request.FILES)
    context: dict[str, Any] = {"form": form}
    status = 200
    try:
        form.read()
        context |= answer(form, request)
    except (QueryInvalid, ImageRefused) as error:
        context["problem"], status = str(error), 400
    except SearchExpired:
        context["expired"], status = EXPIRED_BY_IMAGE if form.is_by_image else EXPIRED, 410
    except (SearchUnavailable, StorageUnavailable) as error:
        context["unavailable"], status = str(error), 503
    return rendered(request, context, status)


@may_search
@require_safe
def names_part(request: Request) -> HttpResponse:
    """Names for the filter's inputs: a part that is asked for when the filters are opened.

    Names that only hidden images bear stay hidden; those that only versions bear find nothing.
    """
    visible = Image.objects.shown_to(request.user)
    tags = Tag.objects.filter(Exists(visible.filter(tags=OuterRef("pk"))))
    albums = Album.objects.filter(Exists(visible.filter(album=OuterRef("pk"))))
    try:
        with patience():
            names = {
                "tags": list(tags.values_list("name", flat=True)[:SUGGESTIONS]),
                "albums": list(albums.values_list("name", flat=True).distinct()[:SUGGESTIONS]),
            }
    except QueryInvalid:
        return HttpResponse(status=204)  # whoever knows the name can write it
    return render(request, "gallery/_names.html", names)


def answer(form: SearchForm, request: Request) -> dict[str, Any]:
    """Return what the results' part shows."""
    is_kept = bool(request.GET.get("search"))
    if form.is_by_image and form.file is None and not is_kept:
        form.is_by_image = False
        form.read()
        return {**answer(form, request), "notice": NOT_KEPT}
    if form.has_terms or is_kept or request.method == "POST":
        return results(form, request)
    return newest(form, request)


def results(form: SearchForm, request: Request) -> dict[str, Any]:
    """Answer the form's query for the viewer, or turn to a page of an answer given before.

    Raise Http404 for an image to be similar to that the viewer may not see.
    """
    context: dict[str, Any] = {
        "sources": sources(form, request.user),
        "is_shown": form.is_by_image,
        "preview": preview(form.pixels) if form.pixels else "",
    }
    page, notice = found(form, request)
    after = "" if notice else request.GET.get("after", "")
    place = Place(form.address, page.search_id, page.number)
    context |= {
        "page": page,
        "notice": notice,
        "turning": turning_of(page, form.query, form.address, after=after),
        "address": place.own() if page.number > 1 or form.is_by_image else str(form.address),
    }
    if not page.hits:
        context["nothing"] = nothing(page, form, request)
    return context


def found(form: SearchForm, request: Request) -> tuple[Page, str]:
    """Return the page asked for, and what is to be said when it is not the very same ranking."""
    number, notice = page_number(request), ""
    if search_id := request.GET.get("search"):
        try:
            return turn(search_id, request.user, number=number), ""
        except SearchExpired:
            if form.is_by_image or not form.has_terms:
                raise
            notice = ANEW
    page = search(form.as_query(), request.user)
    # The same search, made anew, may have become too short for the page that was asked for.
    if number > 1 and page.search_id and not (notice and not page.has_more):
        page = turn(page.search_id, request.user, number=number)
    return page, notice


def page_number(request: Request) -> int:
    written = request.GET.get("page") or "1"
    if not (written.isascii() and written.isdigit() and 1 <= int(written[:9]) <= MAX_PAGE):
        raise QueryInvalid(f"“page” must be a whole number from 1 to {MAX_PAGE:,}.")
    return int(written)


def nothing(page: Page, form: SearchForm, request: Request) -> Nothing:
    """Return why a page has no hits, and what may help."""
    counted = totals(page.search_id, request.user) if page.search_id else None
    return nothing_of(page, form.query, form.address, counted)


def sources(form: SearchForm, viewer: User | AnonymousUser) -> list[Chip]:
    """Return the images of the gallery that are searched by."""
    shown = [str(term.uuid) for term in form.query.terms if isinstance(term, ImageTerm)]
    if not shown:
        return []
    visible = Image.objects.visible_to(viewer).filter(uuid__in=shown)
    image_by_uuid = {str(image.uuid): image for image in visible}
    if missing := set(shown) - set(image_by_uuid):
        raise Http404(f"There is no image {missing.pop()}.")
    return [
        Chip(
            name="similar to",
            value=image_by_uuid[uuid].caption or str(image_by_uuid[uuid]),
            address_without=str(form.address.without_term("similar_to", place)),
            thumbnail=reverse("thumbnail", args=[uuid, thumbnails.SMALL]),
        )
        for place, uuid in enumerate(shown)
    ]


def newest(form: SearchForm, request: Request) -> dict[str, Any]:
    """Return the newest images that pass the filter, from the one after `before`."""
    visible = Image.objects.shown_to(request.user)
    images = filters.apply(form.query.filter, visible, request.user).defer("full_text")
    if written := request.GET.get("before"):
        try:
            last = get_object_or_404(visible, uuid=image_id(written))
        except ValueError:
            raise QueryInvalid("“before” must be the id of an image.") from None
        images = images.filter(
            Q(added_at__lt=last.added_at) | Q(added_at=last.added_at, id__lt=last.id)
        )
    with patience():
        shown = list(images.order_by("-added_at", "-id")[: PAGE + 1])
    context: dict[str, Any] = {"images": shown[:PAGE], "is_continued": bool(written)}
    if len(shown) > PAGE:
        context["more"] = str(form.address.plus("before", shown[PAGE - 1].uuid))
    return context


def preview(pixels: Pixels) -> str:
    """Return a small copy of the shown image as a data: URL; nothing of it is stored."""
    webp = base64.b64encode(thumbnails.make(pixels, PREVIEW_PIXELS))
    return f"data:image/webp;base64,{webp.decode()}"


def rendered(request: Request, context: dict[str, Any], status: int) -> HttpResponse:
    """Render the page, the part of it that changes, or only further images to be put after."""
    page, part = "gallery/search.html", "gallery/_search.html"
    is_further = "before" in request.GET or "after" in request.GET
    if is_further and status == 200 and not context.get("notice"):
        part = "gallery/_more.html" if "images" in context else "gallery/_more_hits.html"
        return render_page(request, page, context, part=part)
    response = render_page(request, page, context, part=part, status=status)
    if is_further:
        # Not what was asked for: it takes the place of everything.
        retarget(reswap(response, "outerHTML"), "#search-page")
    if status == 200:
        return push_url(response, context.get("address") or str(context["form"].address))
    return push_url(response, request.get_full_path() if request.method == "GET" else False)
