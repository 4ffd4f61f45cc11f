"""A request is no larger than its view takes, before anything of it is read.

It stands before the check of the CSRF token, which reads a form with all its files onto the disk
before anybody has asked who sends it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse

from gallery import request_limits


class RequestSize:
    """Middleware that refuses what is too large by its Content-Length."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: Any, kwargs: Any
    ) -> HttpResponse | None:
        def is_user() -> bool:
            return request.user.is_authenticated

        return request_limits.refusal(request, view, is_user=is_user)
