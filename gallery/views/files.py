"""The stored bytes of an image, for those who may see it."""

from __future__ import annotations

import logging
import re
from pathlib import PurePath
from typing import TYPE_CHECKING
from uuid import UUID

from django.contrib.auth.models import AnonymousUser
from django.http import (
    FileResponse,
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseRedirect,
)
from django.shortcuts import get_object_or_404
from django.utils.cache import get_conditional_response
from django.utils.http import content_disposition_header
from django.views.decorators.http import require_safe

from gallery import originals, thumbnails
from gallery.models import Image, Video
from gallery.originals import Sendable, Stored
from gallery.storage.links import Link, Wanted

if TYPE_CHECKING:
    from gallery.views.requests import Request

logger = logging.getLogger(__name__)

EXTENSION_BY_MIME_TYPE = {
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/webp": ".webp",
    "image/gif": ".gif",
    "image/avif": ".avif",
    "image/tiff": ".tif",
    "image/bmp": ".bmp",
    "image/heic": ".heic",
}
# What browsers show by themselves; everything else is only downloaded.
SHOWN_INLINE = {"image/jpeg", "image/png", "image/webp", "image/gif", "image/avif"}
RETRY_SECONDS = "30"


@require_safe
def thumbnail(request: Request, uuid: UUID, pixels: int) -> HttpResponseBase:
    image = get_object_or_404(Image.objects.visible_to(request.user), uuid=uuid)
    response = send_thumbnail(request, image, pixels, is_linked=True)
    if response.status_code in (200, 304):
        response.headers["Cache-Control"] = "private, max-age=604800, immutable"
    return response


@require_safe
def public_thumbnail(request: HttpRequest, uuid: UUID, pixels: int) -> HttpResponseBase:
    """What a CDN fetches: the same for everybody, so it asks nobody who they are."""
    image = get_object_or_404(Image.objects.visible_to(AnonymousUser()), uuid=uuid)
    # Never a redirect: a CDN would keep an address longer than it lives.
    response = send_thumbnail(request, image, pixels, is_linked=False)
    if response.status_code in (200, 304):
        # A day is how long an image that was hidden or deleted may still be shown there.
        response.headers["Cache-Control"] = "public, max-age=86400"
    return response


@require_safe
def original(request: Request, uuid: UUID) -> HttpResponseBase:
    seen = originals.with_places(Image.objects.visible_to(request.user))
    image = get_object_or_404(seen, uuid=uuid)
    wanted = Wanted(
        name=str(image.file.name or image),
        content_type=image.mime_type,
        disposition=disposition(image, is_download="download" in request.GET),
        method=request.method or "GET",
    )
    response = send(request, originals.of(image), wanted, etag=image.sha256)
    if response.status_code in (200, 304):
        response.headers["Cache-Control"] = "private, max-age=3600"
    # One file can be a picture and a page at once: no browser may run it as a page.
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    return response


def send_thumbnail(
    request: HttpRequest, image: Image, pixels: int, *, is_linked: bool
) -> HttpResponseBase:
    file_by_pixels = {
        thumbnails.SMALL: image.thumbnail_small,
        thumbnails.LARGE: image.thumbnail_large,
    }
    if pixels not in file_by_pixels:
        raise Http404("A thumbnail has 256 or 1024 pixels.")
    file = file_by_pixels[pixels]
    wanted = Wanted(str(file.name), "image/webp", "inline", request.method or "GET")
    etag = f"{image.sha256}-{pixels}"
    return send(request, Stored(file), wanted, etag=etag, is_linked=is_linked)


def send(
    request: HttpRequest, file: Sendable, wanted: Wanted, *, etag: str, is_linked: bool = True
) -> HttpResponseBase:
    """Answer with the file, with where the bucket has it, or with 304. The viewer may see it."""
    held = get_conditional_response(request, etag=f'"{etag}"')
    try:
        if held is None and is_linked and (link := file.link(wanted)):
            return redirect(link)
        response: HttpResponseBase = held or FileResponse(
            file.open(), content_type=wanted.content_type
        )
    except FileNotFoundError as error:
        # Deleted between the look into the database and the look into the storage; or somebody
        # else's, and no longer where it was.
        raise Http404("The file is gone.") from error
    except OSError as error:
        return unavailable(wanted.name, error)
    response.headers["ETag"] = f'"{etag}"'
    if held is None:
        response.headers["Content-Disposition"] = wanted.disposition
    return response


def unavailable(name: str, error: OSError) -> HttpResponse:
    """Say that a file cannot be read now. What the storage said is for the log."""
    logger.warning("The file %s cannot be read: %s", name, error)
    return HttpResponse(
        "The file cannot be read now. Try again in a while.",
        status=503,
        content_type="text/plain",
        headers={"Retry-After": RETRY_SECONDS, "Cache-Control": "no-store"},
    )


def redirect(link: Link) -> HttpResponseBase:
    """Send the browser to the bucket. It may remember the way for as long as that is open."""
    kept = f"private, max-age={link.seconds}" if link.seconds else "no-store"
    return HttpResponseRedirect(link.url, headers={"Cache-Control": kept})


def disposition(image: Image, *, is_download: bool) -> str:
    is_attached = is_download or image.mime_type not in SHOWN_INLINE
    extension = EXTENSION_BY_MIME_TYPE.get(image.mime_type, ".bin")
    return str(content_disposition_header(is_attached, download_name(image, extension)))


def download_name(record: Image | Video, extension: str) -> str:
    """Return the file's name without what a file system or a header could take amiss.

    The ending is that of the bytes: "page.html" that is a JPEG becomes "page.jpg".
    """
    stem = re.sub(r'[\x00-\x1f\x7f/\\:*?"<>|]', "_", PurePath(record.original_name).stem)
    return f"{stem[:150].strip(' .') or record.uuid}{extension}"
