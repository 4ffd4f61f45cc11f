"""One image: its page, its like, and what its owner may do with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from gallery.auto_tags import review
from gallery.changes import change_record
from gallery.errors import QueryInvalid, SearchUnavailable
from gallery.forms import EditForm
from gallery.models import Image, SourceLink
from gallery.query import ImageTerm, Query
from gallery.removal import delete_images
from gallery.search import search
from gallery.videos.frames import frame_of
from gallery.views.requests import LoggedIn, Request, may_search

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User

SIMILAR = 12


@may_search
@require_safe
def image_page(request: Request, uuid: UUID) -> HttpResponse:
    image = visible_image(request.user, uuid)
    return render(request, "gallery/image.html", page_context(image, request.user))


@may_search
@require_safe
def similar(request: Request, uuid: UUID) -> HttpResponse:
    """The images most like this one: a part of its page. As a page, it is a search."""
    image = visible_image(request.user, uuid)
    if not request.htmx:
        return redirect(f"{reverse('search')}?similar_to={image.uuid}")
    context: dict[str, Any] = {"image": image}
    status = 200
    try:
        page = search(Query(terms=(ImageTerm(image.uuid),), k=SIMILAR), request.user)
        context["hits"] = page.hits
    except QueryInvalid as error:
        context["unavailable"], status = str(error), 400
    except SearchUnavailable as error:
        context["unavailable"], status = str(error), 503
    return render(request, "gallery/_similar.html", context, status=status)


@login_required
@require_POST
def edit(request: LoggedIn, uuid: UUID) -> HttpResponse:
    image = own_image(request.user, uuid)
    form = EditForm(request.POST)
    if not form.is_valid():
        context = page_context(image, request.user) | {"edit_form": form}
        return render(request, "gallery/image.html", context, status=400)
    try:
        change_record(image, **form.cleaned_data)
    except Image.DoesNotExist as error:
        raise Http404 from error
    messages.success(request, "Saved.")
    return redirect(image)


@login_required
@require_POST
def delete(request: LoggedIn, uuid: UUID) -> HttpResponse:
    image = own_image(request.user, uuid)
    delete_images(Image.objects.filter(pk=image.pk))
    messages.success(request, f"{image} is deleted.")
    return redirect("search")


def visible_image(viewer: User | AnonymousUser, uuid: UUID) -> Image:
    visible = Image.objects.visible_to(viewer)
    return get_object_or_404(visible.select_related("album", "owner"), uuid=uuid)


def own_image(viewer: User | AnonymousUser, uuid: UUID) -> Image:
    """Return the image if the viewer may change it: 403 for another's, 404 for a hidden one."""
    image = visible_image(viewer, uuid)
    if not may_change(image, viewer):
        raise PermissionDenied("Only its owner may change this image.")
    return image


def may_change(image: Image, viewer: User | AnonymousUser) -> bool:
    return viewer.is_superuser or image.owner_id == viewer.pk


def page_context(image: Image, viewer: User | AnonymousUser) -> dict[str, Any]:
    is_own = may_change(image, viewer)
    return {
        "image": image,
        # Where somebody lives is often where they take photos.
        "may_know_place": is_own,
        "tags": image.tags.all(),
        "suggested": review.of_image(image, viewer) if viewer.is_authenticated else (),
        "captions": image.captions.further(),
        "source_link": SourceLink.of(image),
        "frame": frame_of(image, viewer),
        "edit_form": EditForm.of(image) if is_own else None,
        "own_albums": image.owner.albums.values_list("name", flat=True),
    }
