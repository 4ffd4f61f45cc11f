"""A web request has only so long for one statement: what a stranger asks must not hold Postgres.

Nor does it wait for long for a process that decodes.

Only connections that a request opens are limited. Workers, commands and the thread that keeps the
index current have all the time they need.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from django.conf import settings
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from gallery.patience import TOO_LONG, somebody_waits, took_too_long

RETRY_SECONDS = "10"

_is_request: ContextVar[bool] = ContextVar("is_request", default=False)


class StatementTimeout:
    """Middleware that marks what is done for a request."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        token = _is_request.set(True)
        try:
            with somebody_waits():
                response = self.get_response(request)
        finally:
            _is_request.reset(token)
        if response.status_code == 503:  # what cannot be had now may be asked for again soon
            response.headers.setdefault("Retry-After", RETRY_SECONDS)
        return response

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Where a view has not told it itself, a page does."""
        if not took_too_long(exception):
            return None
        return render(request, "400.html", {"problem": TOO_LONG}, status=400)


@receiver(connection_created, dispatch_uid="statement timeout")
def limit(connection: BaseDatabaseWrapper, **_signal: Any) -> None:
    if _is_request.get() and settings.REQUEST_STATEMENT_SECONDS:
        with connection.cursor() as cursor:
            milliseconds = round(settings.REQUEST_STATEMENT_SECONDS * 1000)
            cursor.execute(f"SET statement_timeout = {milliseconds:d}")
