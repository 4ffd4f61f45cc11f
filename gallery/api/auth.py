"""Who is asking: a token, a session, or a visitor where searching is public.

Each entry of READERS and WRITERS is tried in turn until one says who it is. They set
`request.user`, so a view has one way to learn it.
"""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from django.http import HttpRequest
from ninja.errors import AuthenticationError, AuthorizationError
from ninja.security import APIKeyCookie, HttpBearer
from ninja.utils import check_csrf

from gallery import tokens

Viewer = User | AnonymousUser


class Token(HttpBearer):
    """`Authorization: Bearer TOKEN`. A wrong one is refused, even where none is needed."""

    def __call__(self, request: HttpRequest) -> User | None:
        header = request.headers.get("Authorization", "")
        if not header:
            return None
        scheme, _, token = header.partition(" ")
        if scheme.lower() != self.openapi_scheme:
            raise AuthenticationError(message="Authorization must be: Bearer TOKEN.")
        return self.authenticate(request, token.strip())

    def authenticate(self, request: HttpRequest, token: str) -> User:
        user = tokens.user_of(token)
        if user is None:
            raise AuthenticationError(message="This token is not valid, or no longer.")
        request.user = user
        return user


class Session(APIKeyCookie):
    """The session of somebody logged in on the pages."""

    param_name = settings.SESSION_COOKIE_NAME

    def __call__(self, request: HttpRequest) -> User | None:
        # A visitor has nothing that a forged request could use: he is told to log in, not that
        # his CSRF token is wrong.
        if not request.user.is_authenticated:
            return None
        if check_csrf(request):
            raise AuthorizationError(
                message="With a session, send its CSRF token as X-CSRFToken; or use an API token."
            )
        return self.authenticate(request, None)

    def authenticate(self, request: HttpRequest, key: str | None) -> User | None:
        return request.user if request.user.is_authenticated else None


def visitor(request: HttpRequest) -> AnonymousUser | None:
    """Anybody, where PUBLIC_SEARCH lets them look."""
    return AnonymousUser() if settings.PUBLIC_SEARCH else None


def writer(request: HttpRequest) -> User:
    """Return who is asking, where WRITERS let nobody but users through."""
    if not request.user.is_authenticated:
        raise AuthenticationError
    return request.user


WRITERS: list[Callable[[HttpRequest], Viewer | None]] = [Token(), Session()]
READERS: list[Callable[[HttpRequest], Viewer | None]] = [*WRITERS, visitor]
