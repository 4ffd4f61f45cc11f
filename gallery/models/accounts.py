"""What belongs to a user beside images: saved searches and API tokens."""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import models

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser


class SavedSearch(models.Model):
    """A query under a name, to be asked again."""

    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="saved_searches"
    )
    name = models.CharField(max_length=100)
    query = models.JSONField(help_text="As `gallery.query.forms` writes it.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name_plural = "saved searches"
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(fields=["owner", "name"], name="saved_search_once_per_owner")
        ]

    def __str__(self) -> str:
        return self.name


class ApiToken(models.Model):
    """Lets a program act as a user. Only the sha256 of the token is kept."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=100)
    sha256 = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    last_used_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        verbose_name = "API token"
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return self.name

    @classmethod
    def issue(cls, user: AbstractBaseUser, name: str) -> str:
        """Make a token for the user and return it; this is the only time it can be read."""
        token = secrets.token_urlsafe(32)
        cls.objects.create(user_id=user.pk, name=name, sha256=cls.sha256_of(token))
        return token

    @staticmethod
    def sha256_of(token: str) -> str:
        return hashlib.sha256(token.encode()).hexdigest()
