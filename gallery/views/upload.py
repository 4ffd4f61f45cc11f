"""The upload page, and how far its images are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.db.models import Count
from django.http import HttpResponse, HttpResponseBadRequest
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_safe
from django_htmx.http import HTMX_STOP_POLLING

from gallery.errors import ImageRefused
from gallery.forms import SinceForm, UploadForm, problems
from gallery.ingest import NewImage, add_image
from gallery.models import Image, State
from gallery.views.requests import LoggedIn, render_page

if TYPE_CHECKING:
    from django.contrib.auth.models import User

SHOWN = 200


@dataclass(frozen=True)
class Outcome:
    """What became of one file: an image, new or not, or the reason why it was refused."""

    name: str
    image: Image | None = None
    is_new: bool = False
    refusal: str = ""


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def upload_page(request: LoggedIn) -> HttpResponse:
    since = timezone.now()
    form, status = UploadForm(), 200
    context: dict[str, Any] = {}
    if request.method == "POST":
        form = UploadForm(request.POST, request.FILES)
        if form.is_valid():
            context["outcomes"] = list(take_in(form, request.user))
        else:
            context["problem"], status = problems(form), 400
    context |= {"form": form, **page_context(request.user, since)}
    return render_page(
        request, "gallery/upload.html", context, part="gallery/_outcomes.html", status=status
    )


@login_required
@require_safe
def progress(request: LoggedIn) -> HttpResponse:
    """How far the viewer's images are that came `since`; 286 ends htmx's polling."""
    form = SinceForm(request.GET)
    if not form.is_valid():
        return HttpResponseBadRequest(problems(form), content_type="text/plain; charset=utf-8")
    context = page_context(request.user, form.cleaned_data["since"])
    is_done = request.htmx and not context["waiting"]
    return render_page(
        request,
        "gallery/upload.html",
        {"form": UploadForm(), **context},
        part="gallery/_progress.html",
        status=HTMX_STOP_POLLING if is_done else 200,
    )


def take_in(form: UploadForm, owner: User) -> Iterator[Outcome]:
    """Add every file of the form, one after the other, and say what became of it."""
    for file in form.cleaned_data["images"]:
        new = NewImage(
            file=file,
            owner=owner,
            original_name=file.name or "",
            caption=form.cleaned_data["caption"],
            tags=form.cleaned_data["tags"],
            album=form.cleaned_data["album"],
            visibility=form.cleaned_data["visibility"],
        )
        try:
            image, is_new = add_image(new)
        except ImageRefused as error:
            yield Outcome(new.original_name, refusal=str(error))
        else:
            yield Outcome(new.original_name, image=image, is_new=is_new)


def page_context(owner: User, since: datetime) -> dict[str, Any]:
    """Return the owner's images that came since then, and how many of them are how far."""
    images = Image.objects.filter(owner=owner, added_at__gte=since)
    count_by_state = dict.fromkeys(State.values, 0)
    count_by_state |= dict(images.order_by().values_list("state").annotate(Count("pk")))
    return {
        **count_by_state,
        "done": count_by_state[State.READY] + count_by_state[State.FAILED],
        "total": sum(count_by_state.values()),
        "since": since,
        "images": images[:SHOWN],
        "own_albums": owner.albums.values_list("name", flat=True),
        "max_megabytes": settings.MAX_IMAGE_BYTES // 10**6,
    }
