"""How large a request may be. Django checks form fields; files it would store without an end."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from gallery.api.errors import answer

View = Callable[..., HttpResponse]

FIELDS_BYTES = 10**6  # what a form holds beside its files


def at_most(files: int) -> Callable[[View], View]:
    """Refuse a request, before it is read, that is larger than so many of the largest files."""
    return at_most_bytes(lambda: files * settings.MAX_IMAGE_BYTES)


def at_most_bytes(most: Callable[[], int]) -> Callable[[View], View]:
    """Refuse a request, before it is read, whose files are larger than that together."""

    def decorate(view: View) -> View:
        @functools.wraps(view)
        def limited(request: HttpRequest, **parts: Any) -> HttpResponse:
            limit = most() + FIELDS_BYTES
            if _content_length(request) > limit:
                return answer(413, f"A request here has at most {limit // 10**6} MB.")
            return view(request, **parts)

        return limited

    return decorate


def _content_length(request: HttpRequest) -> int:
    # Without this header, or with a wrong one, Django reads no body at all.
    try:
        return int(request.headers.get("Content-Length") or 0)
    except ValueError:
        return 0
