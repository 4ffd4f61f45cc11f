"""Uploads: files that are sent in parts, and the sessions in which somebody sends many."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.urls import reverse

from gallery.models.images import Image


class FolderUse(models.TextChoices):
    """What the folders become that a file was sent with."""

    NOTHING = "", "nothing"
    ALBUM = "album", "the album"
    TAGS = "tags", "tags"


class UploadState(models.TextChoices):
    ARRIVING = "arriving", "Arriving"
    NEW = "new", "Stored"
    HELD = "held", "Already there"
    REFUSED = "refused", "Refused"
    EXPIRED = "expired", "Not finished in time"


class OnDuplicates(models.TextChoices):
    """What becomes of a new image that shows what one of its owner's shows."""

    NOTE = "note", "It is stored, with a note"
    REFUSE = "refuse", "Of the same pixels nothing is stored"
    REFUSE_NEAR = "refuse-near", "Of the same pixels, or nearly so, nothing is stored"


class UploadSession(models.Model):
    """Files that were sent together, with what is said of them all."""

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="upload_sessions", editable=False
    )
    about = models.JSONField(default=dict, editable=False, help_text="A Description.")
    folders = models.CharField(max_length=10, choices=FolderUse.choices, blank=True, editable=False)
    expected = models.PositiveIntegerField(
        default=0, editable=False, help_text="Files that its sender means to send, in all."
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [models.Index(fields=["created_at"], name="upload_session_age")]

    def __str__(self) -> str:
        return f"{self.created_at:%Y-%m-%d %H:%M}"

    def get_absolute_url(self) -> str:
        return reverse("upload-session", args=[self.uuid])


class Upload(models.Model):
    """One file: how much of it is here, and what became of it when all of it was."""

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="uploads", editable=False
    )
    session = models.ForeignKey(
        UploadSession, models.CASCADE, null=True, related_name="uploads", editable=False
    )
    path = models.CharField(
        max_length=1000, blank=True, editable=False, help_text="Folders and name, for people."
    )
    bytes = models.PositiveBigIntegerField(editable=False)
    received = models.PositiveBigIntegerField(
        default=0, editable=False, help_text="Bytes that are here."
    )
    # Of path, size and time of change: by it a browser finds a file again that it sent before.
    fingerprint = models.CharField(max_length=64, blank=True, editable=False)
    # A Description as JSON; emptied when the image has it.
    about = models.JSONField(default=dict, editable=False)

    duplicates = models.CharField(
        max_length=20,
        choices=OnDuplicates.choices,
        default=OnDuplicates.NOTE,
        db_default=OnDuplicates.NOTE,
        editable=False,
    )

    state = models.CharField(
        max_length=10, choices=UploadState.choices, default=UploadState.ARRIVING, editable=False
    )
    reason = models.TextField(blank=True, editable=False, help_text="Why it was refused.")
    attempts = models.PositiveSmallIntegerField(
        default=0, editable=False, help_text="Tries to make an image of it."
    )
    image = models.ForeignKey(
        Image, models.SET_NULL, null=True, related_name="uploads", editable=False
    )
    like = models.ForeignKey(
        Image,
        models.SET_NULL,
        null=True,
        related_name="+",
        editable=False,
        help_text="What it is like, by the note in `reason`.",
    )
    metadata = models.TextField(
        blank=True, db_default="", editable=False, help_text="Upload-Metadata as it came."
    )
    created_at = models.DateTimeField(auto_now_add=True)
    changed_at = models.DateTimeField(auto_now=True)
    expires_at = models.DateTimeField(editable=False, help_text="Unless more of it arrives.")

    class Meta:
        ordering = ["id"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(received__lte=models.F("bytes")), name="upload_within_its_size"
            )
        ]
        indexes = [
            models.Index(fields=["session", "state", "id"], name="upload_state"),
            models.Index(fields=["owner", "fingerprint"], name="upload_fingerprint"),
            models.Index(
                fields=["owner", "expires_at"],
                condition=models.Q(state="arriving"),
                name="upload_arriving",
            ),
            models.Index(
                fields=["changed_at"],
                condition=~models.Q(state="arriving"),
                name="upload_ended",
            ),
        ]

    def __str__(self) -> str:
        return self.path or str(self.uuid)

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def is_complete(self) -> bool:
        """Whether all its bytes are here. There may be no image of them yet."""
        return self.received == self.bytes
