"""The stored bytes of an image, for those who may see it."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import TYPE_CHECKING
from uuid import UUID

from django.http import FileResponse, Http404, HttpResponseBase
from django.shortcuts import get_object_or_404
from django.utils.cache import get_conditional_response
from django.views.decorators.http import require_safe

from gallery.models import Image

if TYPE_CHECKING:
    from django.db.models.fields.files import FieldFile

    from gallery.views.requests import Request

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


@require_safe
def thumbnail(request: Request, uuid: UUID, pixels: int) -> HttpResponseBase:
    image = get_object_or_404(Image.objects.visible_to(request.user), uuid=uuid)
    file_by_pixels = {256: image.thumbnail_small, 1024: image.thumbnail_large}
    if pixels not in file_by_pixels:
        raise Http404("A thumbnail has 256 or 1024 pixels.")
    etag = f'"{image.sha256}-{pixels}"'
    response = get_conditional_response(request, etag=etag) or FileResponse(
        open_file(file_by_pixels[pixels]), content_type="image/webp"
    )
    response.headers["ETag"] = etag
    response.headers["Cache-Control"] = "private, max-age=604800, immutable"
    return response


@require_safe
def original(request: Request, uuid: UUID) -> HttpResponseBase:
    image = get_object_or_404(Image.objects.visible_to(request.user), uuid=uuid)
    etag = f'"{image.sha256}"'
    response = get_conditional_response(request, etag=etag) or FileResponse(
        open_file(image.file),
        as_attachment=image.mime_type not in SHOWN_INLINE,
        filename=download_name(image),
        content_type=image.mime_type,
    )
    response.headers["ETag"] = etag
    response.headers["Cache-Control"] = "private, max-age=3600"
    # One file can be a picture and a page at once: no browser may run it as a page.
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    return response


def open_file(file: FieldFile) -> FieldFile:
    try:
        file.open("rb")
    except FileNotFoundError as error:
        # Deleted between the look into the database and the look into the storage.
        raise Http404("The file is gone.") from error
    return file


def download_name(image: Image) -> str:
    """Return the file's name without what a file system or a header could take amiss.

    The ending is that of the bytes: "page.html" that is a JPEG becomes "page.jpg".
    """
    stem = re.sub(r'[\x00-\x1f\x7f/\\:*?"<>|]', "_", PurePath(image.original_name).stem)
    extension = EXTENSION_BY_MIME_TYPE.get(image.mime_type, ".bin")
    return f"{stem[:150].strip(' .') or image.uuid}{extension}"
