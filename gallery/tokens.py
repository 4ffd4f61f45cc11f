"""Whose token a program sends."""

from __future__ import annotations

from datetime import timedelta

from django.contrib.auth.models import User
from django.db.models import Q
from django.utils import timezone

from gallery.models import ApiToken

USE_IS_NOTED_EVERY = timedelta(minutes=1)


def user_of(token: str) -> User | None:
    """Return the active user that the token was issued to, and note that it was used.

    Only hashes are compared, so the time this takes tells nothing about a token.
    """
    found = (
        ApiToken.objects.select_related("user")
        .filter(sha256=ApiToken.sha256_of(token), user__is_active=True)
        .first()
    )
    if found is None:
        return None
    _note_use(found)
    return found.user


def _note_use(token: ApiToken) -> None:
    now = timezone.now()
    if token.last_used_at and token.last_used_at > now - USE_IS_NOTED_EVERY:
        return
    # Of many requests at once, one writes: the rest find the condition no longer true.
    stale = Q(last_used_at=None) | Q(last_used_at__lte=now - USE_IS_NOTED_EVERY)
    ApiToken.objects.filter(stale, pk=token.pk).update(last_used_at=now)
