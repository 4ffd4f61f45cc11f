"""How large a request of one operation may be, where that is less than the API takes at all."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from gallery.api.errors import answer
from gallery.request_limits import FIELDS_BYTES, content_length, files_bytes, too_large

View = Callable[..., HttpResponse]


def at_most_one_image() -> Callable[[View], View]:
    """Refuse a request, before it is read, that is larger than the largest image."""
    return at_most_bytes(lambda: int(settings.MAX_IMAGE_BYTES))


def at_most_files() -> Callable[[View], View]:
    """Refuse a request, before it is read, that is larger than the upload page takes."""
    return at_most_bytes(lambda: files_bytes() - FIELDS_BYTES)


def at_most_bytes(most: Callable[[], int]) -> Callable[[View], View]:
    """Refuse a request, before it is read, whose files are larger than that together."""

    def decorate(view: View) -> View:
        @functools.wraps(view)
        def limited(request: HttpRequest, **parts: Any) -> HttpResponse:
            limit = most() + FIELDS_BYTES
            if content_length(request) > limit:
                return answer(413, too_large(limit))
            return view(request, **parts)

        return limited

    return decorate
