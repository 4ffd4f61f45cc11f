"""How large a request may be: what each view takes, and how it refuses more.

Django bounds the fields of a form, and not its files: it stores all of them before the first line
of a view, to look for the CSRF token beside them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from gallery.videos import limits

FIELDS_BYTES = 10**6  # what a form holds beside its files
# The most files of full size in one request; more of them are sent in several.
FILES_OF_FULL_SIZE = 20

NO_LENGTH = "A request here must say its length: send it with Content-Length."

View = TypeVar("View", bound=Callable[..., Any])


def plain_bytes() -> int:
    """Return what a form without files has at most."""
    return int(settings.DATA_UPLOAD_MAX_MEMORY_SIZE)


def image_bytes() -> int:
    return int(settings.MAX_IMAGE_BYTES) + FIELDS_BYTES


def image_bytes_of_visitors() -> int:
    """Return what a request to search by an image has at most, of whoever is not logged in."""
    return image_bytes() if settings.PUBLIC_SEARCH else plain_bytes()


def files_bytes() -> int:
    """Return what a request with images, or a video, has at most."""
    images = FILES_OF_FULL_SIZE * settings.MAX_IMAGE_BYTES
    return int(max(images, limits.most_bytes_of_any())) + FIELDS_BYTES


def source_bytes() -> int:
    """Return what a request with an archive or a list to import has at most."""
    return int(settings.IMPORT_UPLOAD_BYTES) + FIELDS_BYTES


def as_page(request: HttpRequest, status: int, sentence: str) -> HttpResponse:
    return render(request, "413.html", {"problem": sentence}, status=status)


@dataclass(frozen=True, kw_only=True)
class RequestLimit:
    """The most bytes that a view takes of a user, and of a visitor."""

    users: Callable[[], int] = plain_bytes
    visitors: Callable[[], int] = plain_bytes
    refuse: Callable[[HttpRequest, int, str], HttpResponse] = as_page


def limited(limit: RequestLimit) -> Callable[[View], View]:
    """Say what a view takes. What says nothing takes a form without files."""

    def decorate(view: View) -> View:
        setattr(view, "request_limit", limit)  # noqa: B010 - of a function, mypy knows none
        return view

    return decorate


def refusal(
    request: HttpRequest, view: Callable[..., Any], *, is_user: Callable[[], bool]
) -> HttpResponse | None:
    """Return the answer to a request that the view does not take; None where it does.

    Nothing of the request is read, and who asks is looked up only where it matters.
    """
    limit: RequestLimit = getattr(view, "request_limit", RequestLimit())
    if "Transfer-Encoding" in request.headers and limit.refuse is as_page:
        # Django reads nothing of a body whose length it does not know: the form would seem empty.
        return limit.refuse(request, 411, NO_LENGTH)
    length, most = content_length(request), limit.users()
    if length <= limit.visitors() or (length <= most and is_user()):
        return None
    if length <= most:
        sentence = "Log in first: a request of a visitor has at most {} MB here."
        return limit.refuse(request, 413, sentence.format(_megabytes(limit.visitors())))
    return limit.refuse(request, 413, too_large(most))


def too_large(most: int) -> str:
    return f"A request here has at most {_megabytes(most)} MB."


def content_length(request: HttpRequest) -> int:
    # Without this header, or with a wrong one, Django reads no body at all.
    try:
        return int(request.headers.get("Content-Length") or 0)
    except ValueError:
        return 0


def _megabytes(size: int) -> str:
    return f"{size // 10**6:,}"
