"""What every view shares: the request as our middleware leaves it, and parts for htmx."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.auth.decorators import user_passes_test
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.cache import patch_vary_headers

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User
    from django_htmx.middleware import HtmxDetails


class Request(HttpRequest):
    """A request after AuthenticationMiddleware and HtmxMiddleware."""

    user: User | AnonymousUser
    htmx: HtmxDetails


class LoggedIn(Request):
    """The request of a view behind login_required."""

    user: User


# Without PUBLIC_SEARCH the pages are for people who are logged in.
may_search = user_passes_test(lambda user: settings.PUBLIC_SEARCH or user.is_authenticated)


def render_page(
    request: Request, page: str, context: dict[str, Any], *, part: str, status: int = 200
) -> HttpResponse:
    """Render the whole page, or only its part when htmx asks for that."""
    response = render(request, part if request.htmx else page, context, status=status)
    patch_vary_headers(response, ["HX-Request"])
    return response
