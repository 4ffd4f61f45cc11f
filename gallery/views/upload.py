"""The upload page, and the page of what was sent together."""

from __future__ import annotations

import hashlib
import uuid
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.db.models import Case, Q, When
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.utils.cache import patch_vary_headers
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from gallery.errors import StorageUnavailable
from gallery.forms import UploadForm, problems
from gallery.models import Image, OnDuplicates, UploadSession, UploadState
from gallery.request_limits import RequestLimit, files_bytes, limited
from gallery.trees import names
from gallery.uploads import sessions, whole
from gallery.uploads.errors import UploadMissing
from gallery.videos.limits import most_bytes_of_any
from gallery.views.requests import LoggedIn

if TYPE_CHECKING:
    from django.contrib.auth.models import User

SESSIONS_SHOWN = 5
NOTES_SHOWN = 100
IMAGES_SHOWN = 60
# Of 5,000 files that were there already, nobody looks at all for the one that was refused.
_GRAVEST_FIRST = Case(
    When(state=UploadState.REFUSED, like=None, then=0),
    When(state=UploadState.REFUSED, then=1),
    When(state=UploadState.EXPIRED, then=2),
    When(state=UploadState.NEW, then=3),
    default=4,
)


@limited(RequestLimit(users=files_bytes))
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def upload_page(request: LoggedIn) -> HttpResponse:
    form, status, problem = UploadForm(), 200, ""
    if request.method == "POST":
        form = UploadForm(request.POST, request.FILES)
        try:
            if form.is_valid():
                return _take_in(form, request.user)
            problem, status = problems(form), 400
        except StorageUnavailable as error:
            problem, status = str(error), 503
    latest = UploadSession.objects.filter(owner=request.user)[:SESSIONS_SHOWN]
    context = {
        **_form_context(form, request.user),
        "problem": problem,
        "latest": [(session, sessions.counts(session)) for session in latest],
    }
    return render(request, "gallery/upload.html", context, status=status)


@login_required
@require_safe
def session_page(request: LoggedIn, uuid: uuid.UUID) -> HttpResponse:
    """Where the files of a session stand; htmx asks for its part alone, again and again.

    It is answered 204 while nothing has changed, so that the page does not flicker.
    """
    session = _session(request.user, uuid)
    context = _progress_context(session, request)
    if not request.htmx:
        form = UploadForm.of(session)
        if duplicates := sessions.on_duplicates(session):
            form.initial["duplicates"] = duplicates
        context |= _form_context(form, request.user)
        response = render(request, "gallery/upload.html", context)
    elif request.GET.get("seen") == context["seen"]:
        response = HttpResponse(status=204)
    else:
        response = render(request, "gallery/_progress.html", context)
    patch_vary_headers(response, ["HX-Request"])
    return response


@login_required
@require_POST
def discard(request: LoggedIn, uuid: uuid.UUID) -> HttpResponse:
    """Give up what has not arrived; images that were stored stay."""
    session = _session(request.user, uuid)
    sessions.discard_unfinished(session)
    return redirect(session)


def _take_in(form: UploadForm, owner: User) -> HttpResponseRedirect:
    files = form.cleaned_data["images"]
    session = sessions.start(owner, form.description(), files=len(files))
    duplicates = OnDuplicates(form.cleaned_data["duplicates"] or OnDuplicates.NOTE)
    whole.take_in(session, files, duplicates)
    return redirect(session)


def _session(owner: User, id_: uuid.UUID) -> UploadSession:
    try:
        return sessions.find(owner, id_)
    except UploadMissing as error:
        raise Http404(str(error)) from error


def _form_context(form: UploadForm, owner: User) -> dict[str, Any]:
    no_videos = settings.VIDEO_FRAMES == names.OFF
    return {
        "form": form,
        "own_albums": owner.albums.values_list("name", flat=True),
        "image_megabytes": settings.MAX_IMAGE_BYTES // 10**6,
        "video_megabytes": 0 if no_videos else settings.VIDEO_MAX_BYTES // 10**6,
        "max_megabytes": most_bytes_of_any() // 10**6,
        "suffixes": " ".join(sorted(names.taken_suffixes())),
    }


def _progress_context(session: UploadSession, request: LoggedIn) -> dict[str, Any]:
    ended_otherwise = (UploadState.REFUSED, UploadState.EXPIRED, UploadState.HELD)
    is_noted = Q(state__in=ended_otherwise) | (Q(state=UploadState.NEW) & ~Q(reason=""))
    notes = session.uploads.filter(is_noted).select_related("image", "like")
    noted = Paginator(notes.order_by(_GRAVEST_FIRST, "pk"), NOTES_SHOWN)
    notes_page = noted.get_page(request.GET.get("notes", ""))
    images = Image.objects.filter(pk__in=session.uploads.exclude(image=None).values("image"))
    shown = Paginator(images, IMAGES_SHOWN).get_page(request.GET.get("page", ""))
    counts = sessions.counts(session)
    said = [(upload.pk, upload.reason) for upload in notes_page]
    seen = repr((counts, said, [(image.pk, image.state) for image in shown]))
    return {
        "session": session,
        "counts": counts,
        "notes": notes_page,
        "page": shown,
        "seen": hashlib.sha256(seen.encode()).hexdigest()[:16],
    }
