"""Guessing passwords is made slow: after some wrong ones, a name must wait at that address."""

from __future__ import annotations

import hashlib
import logging
from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.models import User
from django.core.cache import cache
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest
from redis.exceptions import RedisError

MAX_FAILURES = 10
WAIT_MINUTES = 15

log = logging.getLogger(__name__)


class LimitedBackend(ModelBackend):
    """Django's own check of passwords, refused after too many failures. Serves pages and admin."""

    def authenticate(
        self,
        request: HttpRequest | None,
        username: str | None = None,
        password: str | None = None,
        **kwargs: Any,
    ) -> User | None:
        if username is None or password is None:
            return None
        key = _key(request, username)
        # Counted before the check, so that many tries at once do not all pass. Without Redis
        # nobody gets in: the admin's password is worth more than the hour.
        cache.add(key, 0, timeout=WAIT_MINUTES * 60)
        if cache.incr(key) > MAX_FAILURES:
            raise PermissionDenied
        user = super().authenticate(request, username, password, **kwargs)
        if user is not None:
            cache.delete(key)
        return user


class LoginForm(AuthenticationForm):
    """Says so when it is too many failures, not a wrong password, that keeps somebody out."""

    def clean(self) -> dict[str, Any]:
        try:
            return super().clean()
        except RedisError as error:
            log.error("Nobody can log in: %s", error)
            raise ValidationError("Nobody can log in just now: Redis does not answer.") from error

    def get_invalid_login_error(self) -> ValidationError:
        if must_wait(self.request, self.cleaned_data["username"]):
            return ValidationError(
                f"Too many wrong passwords. Try again in {WAIT_MINUTES} minutes.", code="wait"
            )
        return ValidationError("The user name or the password is wrong.", code="invalid_login")


def must_wait(request: HttpRequest | None, username: str) -> bool:
    return bool(cache.get(_key(request, username), 0) > MAX_FAILURES)


def _key(request: HttpRequest | None, username: str) -> str:
    address = request.META.get("REMOTE_ADDR", "") if request else ""
    text = f"{username.casefold()} at {address}"
    return f"login-failures:{hashlib.sha256(text.encode()).hexdigest()}"
