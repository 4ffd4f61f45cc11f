"""A video: its file in parts for players, its page, and what its owner does with it as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils.cache import get_conditional_response
from django.utils.http import content_disposition_header
from django.views.decorators.http import require_POST, require_safe

from gallery.errors import ImageRefused
from gallery.models import Image, Video
from gallery.storage import links
from gallery.storage.links import Wanted
from gallery.storage.ranges import read_range
from gallery.videos import changing
from gallery.videos.containers import BY_MIME_TYPE
from gallery.views import files
from gallery.views.ranges import Range, RangeUnsatisfiable, wanted_range
from gallery.views.requests import LoggedIn, Request, may_search

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User

# The most that is sent of a range: a player that is paused must not hold a thread of ours until
# somebody comes back. It asks for the next part when it wants it. Who asks for no range cannot be
# answered with one, and gets the whole.
PART_BYTES = 4 * 2**20


@may_search
@require_safe
def video_page(request: Request, uuid: UUID) -> HttpResponse:
    """A video is shown on the page of its first frame."""
    video = get_object_or_404(Video.objects.visible_to(request.user), uuid=uuid)
    visible = Image.objects.visible_to(request.user).filter(video__uuid=video.uuid)
    first = visible.order_by("video_seconds").first()
    if first is None:
        raise Http404("No frame of it is to be seen.")
    return redirect(first)


@require_safe
def video_file(request: Request, uuid: UUID) -> HttpResponseBase:
    video = get_object_or_404(Video.objects.visible_to(request.user), uuid=uuid)
    wanted = Wanted(
        name=str(video.file.name),
        content_type=video.mime_type,
        disposition=disposition(video, is_download="download" in request.GET),
        method=request.method or "GET",
    )
    try:
        response = _answer(request, video, wanted)
    except FileNotFoundError as error:
        raise Http404("The file is gone.") from error
    except OSError as error:
        return files.unavailable(wanted.name, error)
    if response.status_code in (200, 206, 304):
        response.headers["Cache-Control"] = "private, max-age=3600"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Content-Security-Policy"] = "default-src 'none'; media-src 'self'; sandbox"
    return response


@login_required
@require_POST
def change(request: LoggedIn, uuid: UUID) -> HttpResponse:
    """Make a video and its frames public or private."""
    video = own_video(request.user, uuid)
    try:
        changing.show_to(video, request.POST.get("visibility", ""))
    except ImageRefused as refusal:
        messages.error(request, str(refusal))
    else:
        messages.success(request, "Saved for the video and all its frames.")
    return redirect("video", uuid)


@login_required
@require_POST
def delete(request: LoggedIn, uuid: UUID) -> HttpResponse:
    video = own_video(request.user, uuid)
    n = changing.delete(video)
    messages.success(request, f"{video} and its {n:,} frames are deleted.")
    return redirect("search")


def own_video(viewer: User | AnonymousUser, uuid: UUID) -> Video:
    """Return the video if the viewer may change it: 403 for another's, 404 for a hidden one."""
    video = get_object_or_404(Video.objects.visible_to(viewer), uuid=uuid)
    if not (viewer.is_superuser or video.owner_id == viewer.pk):
        raise PermissionDenied("Only its owner may change this video.")
    return video


def disposition(video: Video, *, is_download: bool) -> str:
    """Return how a browser is to take the file: it plays what it can, and keeps the rest."""
    container = BY_MIME_TYPE.get(video.mime_type)
    is_shown = container is not None and container.is_shown
    name = files.download_name(video, f".{container.suffix}" if container else ".bin")
    return str(content_disposition_header(is_download or not is_shown, name))


def _answer(request: Request, video: Video, wanted: Wanted) -> HttpResponseBase:
    """Return the file, a part of it, where the bucket has it, 304 or 416. Raise OSError."""
    etag = f'"{video.sha256}"'
    held = get_conditional_response(request, etag=etag)
    if held is not None:
        held.headers["ETag"] = etag
        return held
    if link := links.link(video.file.storage, wanted):
        return files.redirect(link)
    try:
        part = wanted_range(request, size=video.bytes, etag=etag)
    except RangeUnsatisfiable:
        return HttpResponse(status=416, headers={"Content-Range": f"bytes */{video.bytes}"})
    response = _part(video, part, is_head=request.method == "HEAD")
    response.headers["Content-Type"] = wanted.content_type
    response.headers["Content-Disposition"] = wanted.disposition
    response.headers["Accept-Ranges"] = "bytes"
    response.headers["ETag"] = etag
    return response


def _part(video: Video, part: Range | None, *, is_head: bool) -> HttpResponseBase:
    first, last = part or Range(0, video.bytes - 1)
    if part is not None:
        last = min(last, first + PART_BYTES - 1)
    body = () if is_head else read_range(video.file.storage, str(video.file.name), first, last)
    response = StreamingHttpResponse(body, status=206 if part else 200)
    response.headers["Content-Length"] = str(last - first + 1)
    if part is not None:
        response.headers["Content-Range"] = f"bytes {first}-{last}/{video.bytes}"
    return response
