"""The import ledger: a run reads one source, and every item of it has a row."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models.functions import MD5
from django.urls import reverse

from gallery.models.images import Image
from gallery.models.videos import Video


class RunState(models.TextChoices):
    WAITING = "waiting", "Waiting"  # for a process that works on it
    RUNNING = "running", "Running"
    PAUSED = "paused", "Paused"
    DONE = "done", "Done"
    BROKEN = "broken", "Stopped"  # the source itself cannot be read: `failure` says why
    UNDOING = "undoing", "Being undone"
    UNDONE = "undone", "Undone"


class ItemState(models.TextChoices):
    WAITING = "waiting", "Waiting"
    NEW = "new", "New"
    HELD = "held", "Already there"
    FAILED = "failed", "Failed"
    SKIPPED = "skipped", "Skipped"
    UNDONE = "undone", "Undone"


class ImportRun(models.Model):
    """One reading of one source. It can be paused, go on after a crash, be retried and undone."""

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="import_runs", editable=False
    )
    source = models.CharField(max_length=30, editable=False, help_text="Kind of the source.")
    options = models.JSONField(default=dict, editable=False, help_text="Of the source.")
    place = models.TextField(editable=False, help_text="What the items' keys are relative to.")
    title = models.CharField(max_length=300, editable=False, help_text="What it reads, for people.")
    defaults = models.JSONField(
        default=dict, editable=False, help_text="Said of all its items: a Description."
    )
    # Whether the worker takes it up; else a command works on it, where its files are.
    is_unattended = models.BooleanField(default=False, editable=False)
    is_dry_run = models.BooleanField("dry run", default=False, editable=False)
    upload = models.CharField(
        max_length=255, blank=True, editable=False, help_text="Folder of a source that was sent."
    )

    state = models.CharField(
        max_length=10, choices=RunState.choices, default=RunState.WAITING, editable=False
    )
    failure = models.TextField(blank=True, editable=False)
    # Whether the source was read to its end: until then more items may come.
    is_listed = models.BooleanField(default=False, editable=False)
    # Who works on it, and until when it is theirs unless they say again that they live.
    lease_token = models.UUIDField(null=True, editable=False)
    lease_until = models.DateTimeField(null=True, editable=False)
    # Processes in a row that took it and died before they listed or stored anything.
    attempts = models.PositiveSmallIntegerField(default=0, editable=False)

    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, editable=False)
    finished_at = models.DateTimeField(null=True, editable=False)
    worked_seconds = models.FloatField(default=0.0, editable=False, help_text="Pauses left out.")
    # As the last sign of life told them, so that pages need not count a million rows.
    tally = models.JSONField(default=dict, editable=False, help_text="Number of items by state.")
    speed = models.FloatField(default=0.0, editable=False, help_text="Items a second, lately.")

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [models.Index(fields=["state"], name="import_run_state")]

    def __str__(self) -> str:
        return self.title

    def get_absolute_url(self) -> str:
        return reverse("import", args=[self.uuid])


class ImportItem(models.Model):
    """What a run found in its source, and what became of it."""

    # Three indexes begin with the run: one of its own would only cost.
    run = models.ForeignKey(
        ImportRun, models.CASCADE, related_name="items", editable=False, db_index=False
    )
    key = models.TextField(editable=False, help_text="What its source calls it.")
    name = models.CharField("file name", max_length=255, editable=False)
    version = models.CharField(max_length=200, blank=True, editable=False)
    url = models.TextField(blank=True, editable=False, help_text="Where its bytes are.")
    # A Description as JSON; emptied when the image has it.
    about = models.JSONField(default=dict, editable=False)

    state = models.CharField(
        max_length=10, choices=ItemState.choices, default=ItemState.WAITING, editable=False
    )
    reason = models.TextField(blank=True, editable=False, help_text="Why it failed or was skipped.")
    attempts = models.PositiveSmallIntegerField(default=0, editable=False)
    image = models.ForeignKey(
        Image, models.SET_NULL, null=True, editable=False, related_name="import_items"
    )
    # Of a video all frames belong to one item; `image` is the first of them.
    video = models.ForeignKey(
        Video,
        models.SET_NULL,
        null=True,
        editable=False,
        db_index=False,
        related_name="import_items",
    )
    changed_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["id"]
        constraints = [
            # Of the key's hash: an index entry holds 2.7 kB, a path or address more.
            models.UniqueConstraint("run", MD5("key"), name="import_item_once_per_run")
        ]
        indexes = [
            models.Index(fields=["run", "id"], name="import_item_order"),
            models.Index(fields=["run", "state", "id"], name="import_item_state"),
            # What an earlier run has brought or found: a later one need not open it.
            models.Index(
                MD5("key"),
                "version",
                condition=models.Q(image__isnull=False),
                name="import_item_known",
            ),
            models.Index(
                fields=["video"],
                condition=models.Q(video__isnull=False),
                name="import_item_video",
            ),
        ]

    def __str__(self) -> str:
        return self.name
