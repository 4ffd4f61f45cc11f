"""As whom a command looks at the gallery."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.core.management.base import CommandError


def viewer(username: str | None) -> User:
    """Return the user with this name; without one the first superuser, because whoever runs
    commands here can read everything anyhow.
    """
    if username is None:
        user = User.objects.filter(is_superuser=True, is_active=True).order_by("pk").first()
        if user is None:
            raise CommandError("There is no superuser yet: run manage.py prepare, or name --as.")
        return user
    try:
        return User.objects.get(username=username, is_active=True)
    except User.DoesNotExist as error:
        raise CommandError(f"There is no active user {username}.") from error
