"""The tus protocol 1.0.0 as headers: what is read from a request, what an answer carries.

https://tus.io/protocols/resumable-upload: core, creation, creation-with-upload, termination,
expiration.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils.http import http_date

from gallery.api.errors import answer
from gallery.models import Upload, UploadState
from gallery.uploads.errors import UploadInvalid
from gallery.videos.limits import most_bytes_of_any

View = Callable[..., HttpResponse]

VERSION = "1.0.0"
EXTENSIONS = "creation,creation-with-upload,termination,expiration"
PART_TYPE = "application/offset+octet-stream"
_LONGEST_NUMBER = 16  # digits; Python would read a million of them, slowly


def speaks_tus(view: View) -> View:
    """Refuse another version of tus before anything is read, and say ours in every answer."""

    @functools.wraps(view)
    def speaking(request: HttpRequest, **parts: Any) -> HttpResponse:
        if request.headers.get("Tus-Resumable") != VERSION:
            response: HttpResponse = answer(
                412, f"Send Tus-Resumable: {VERSION}; other versions are not spoken here."
            )
            response["Tus-Version"] = VERSION
        else:
            response = view(request, **parts)
        response["Tus-Resumable"] = VERSION
        return response

    return speaking


def number(request: HttpRequest, header: str) -> int:
    """Return a header that must be a whole number of bytes, or raise UploadInvalid."""
    value = request.headers.get(header, "")
    if not (value.isascii() and value.isdigit() and len(value) <= _LONGEST_NUMBER):
        raise UploadInvalid(f"{header} must be a whole number of bytes.")
    return int(value)


def has_part(request: HttpRequest) -> bool:
    return request.content_type == PART_TYPE


def part_length(request: HttpRequest) -> int:
    """Return how many bytes the request's body has; raise UploadInvalid where it does not say."""
    if "Transfer-Encoding" in request.headers:
        raise UploadInvalid("A part needs a Content-Length.")
    return number(request, "Content-Length") if request.headers.get("Content-Length") else 0


def options() -> HttpResponse:
    response = HttpResponse(status=204)
    response["Tus-Resumable"] = response["Tus-Version"] = VERSION
    response["Tus-Extension"] = EXTENSIONS
    response["Tus-Max-Size"] = str(most_bytes_of_any())
    return response


def state_of(upload: Upload, *, status: int) -> HttpResponse:
    """Return an answer that says how much is here, and which image came of it."""
    response = HttpResponse(status=status)
    response["Cache-Control"] = "no-store"
    response["Upload-Offset"] = str(upload.received)
    response["Upload-Length"] = str(upload.bytes)
    if upload.state == UploadState.ARRIVING:
        response["Upload-Expires"] = http_date(upload.expires_at.timestamp())
    else:
        response["Upload-State"] = upload.state
    if upload.image is not None:
        response["Upload-Image"] = upload.image.get_absolute_url()
    return response
