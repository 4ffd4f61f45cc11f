"""Videos: one row a file. Its frames are images, which say at which second they are."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import models
from django.urls import reverse

from gallery.models.images import Image, Visibility

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser


class VideoQuerySet(models.QuerySet["Video"]):
    def visible_to(self, viewer: AbstractBaseUser | AnonymousUser) -> VideoQuerySet:
        """Keep what the viewer may see: public videos, own ones; a superuser sees all.

        A video is as hidden as its most hidden frame: whoever hides one frame hides what it shows.
        """
        if getattr(viewer, "is_superuser", False):
            return self
        hidden = Image.objects.filter(video=models.OuterRef("uuid"), visibility=Visibility.PRIVATE)
        public = models.Q(~models.Exists(hidden), visibility=Visibility.PUBLIC)
        if viewer.is_authenticated:
            return self.filter(public | models.Q(owner=viewer.pk))
        return self.filter(public) if settings.PUBLIC_SEARCH else self.none()


class Video(models.Model):
    """One video file. Comes in through `videos.intake`, and goes with the last of its frames."""

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, related_name="videos", editable=False
    )
    file = models.FileField(max_length=255, editable=False)
    sha256 = models.CharField(max_length=64, editable=False)
    original_name = models.CharField("file name", max_length=255, blank=True)
    mime_type = models.CharField("MIME type", max_length=50, editable=False)
    width = models.PositiveIntegerField(editable=False, help_text="Pixels, as displayed.")
    height = models.PositiveIntegerField(editable=False, help_text="Pixels, as displayed.")
    bytes = models.PositiveBigIntegerField(editable=False)
    seconds = models.FloatField(editable=False, help_text="How long it is.")
    visibility = models.CharField(max_length=10, choices=Visibility.choices)
    notice = models.TextField(
        blank=True, editable=False, help_text="What of it could not be taken, and why."
    )
    added_at = models.DateTimeField(auto_now_add=True)

    objects = VideoQuerySet.as_manager()

    class Meta:
        ordering = ["-added_at", "-id"]
        constraints = [
            models.UniqueConstraint(fields=["owner", "sha256"], name="video_once_per_owner")
        ]

    def __str__(self) -> str:
        return self.original_name or str(self.uuid)

    def get_absolute_url(self) -> str:
        return reverse("video", args=[self.uuid])
