"""Tables of the plugin: spaces, vectors, jobs, snapshots.

A project makes a vector table by a subclass of AbstractEmbedding that adds one foreign key, its
subject; `nearest()` then searches it. See docs/plugin.md.
"""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models.functions import Now
from pgvector.django import HalfVectorField

from embeddings.encoders import names


class Space(models.Model):
    """One encoder at one revision: the home of vectors that may be compared."""

    class State(models.TextChoices):
        FILLING = "filling", "Filling"
        ACTIVE = "active", "Active"
        RETIRED = "retired", "Retired"

    name = models.CharField(max_length=500, help_text="Name of the encoder.")
    revision = models.CharField(max_length=100, help_text="Revision of its checkpoint.")
    dimensions = models.PositiveIntegerField()
    state = models.CharField(max_length=10, choices=State.choices, default=State.FILLING)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["name", "revision"], name="space_once_per_revision"),
            models.UniqueConstraint(
                fields=["state"], condition=models.Q(state="active"), name="space_one_active"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.title} @ {self.revision[:12]}"

    @property
    def title(self) -> str:
        """The encoder's name to show: of a folder only its last part."""
        return names.title_of(self.name)


class AbstractEmbedding(models.Model):
    """A stored vector of one subject in one space. Subclasses add the subject's foreign key."""

    space = models.ForeignKey(Space, models.CASCADE, related_name="+")
    # Without a width: vectors of several spaces lie in one table. 2 bytes a dimension.
    vector = HalfVectorField()
    embedded_at = models.DateTimeField(auto_now=True, db_default=Now())

    # Models ("app.Model") that filters of the subject read beside the subject itself: filters over
    # these tables alone are remembered until one of the tables is written to.
    filter_tables: ClassVar[tuple[str, ...]] = ()

    class Meta:
        abstract = True

    @classmethod
    def subject_field(cls) -> models.ForeignKey[models.Model, models.Model]:
        """Return the one foreign key that is not the space: what the vectors are of."""
        return _subject_field(cls)


class AbstractEmbeddingJob(models.Model):
    """A subject that waits for its vector in a space: the queue of record."""

    space = models.ForeignKey(Space, models.CASCADE, related_name="+")
    attempts = models.PositiveSmallIntegerField(default=0, db_default=0)
    lease_token = models.UUIDField(null=True, editable=False)
    lease_until = models.DateTimeField(null=True, editable=False)
    not_before = models.DateTimeField(null=True, editable=False)
    failed_at = models.DateTimeField(null=True, editable=False, help_text="Parked since.")
    last_error = models.TextField(blank=True, db_default="", editable=False)
    created_at = models.DateTimeField(auto_now_add=True, db_default=Now())

    class Meta:
        abstract = True
        indexes = [models.Index(fields=["space", "attempts", "id"], name="%(class)s_due")]

    @classmethod
    def subject_field(cls) -> models.ForeignKey[models.Model, models.Model]:
        return _subject_field(cls)


def _subject_field(
    model: type[models.Model],
) -> models.ForeignKey[models.Model, models.Model]:
    subjects = [
        field
        for field in model._meta.concrete_fields
        if isinstance(field, models.ForeignKey) and field.name != "space"
    ]
    if len(subjects) != 1:
        raise TypeError(f"{model.__name__} needs exactly one foreign key beside its space")
    return subjects[0]


class Snapshot(models.Model):
    """An index written to a file, and where in the change feed it stands."""

    table = models.CharField(max_length=100, help_text="Vector table, as a table name.")
    space = models.ForeignKey(Space, models.CASCADE, related_name="snapshots")
    folder = models.CharField(max_length=255, help_text="Folder below INDEX_DIR.")
    kind = models.CharField(max_length=100)
    wanted = models.CharField(
        max_length=100,
        default="",
        help_text="Kind that the settings asked for; another where its recall fell short.",
    )
    vectors = models.PositiveBigIntegerField()
    bytes = models.PositiveBigIntegerField()
    recall = models.FloatField(help_text="recall@10 against exact, on held-out queries.")
    effort = models.FloatField(
        null=True, help_text="The search parameter that was chosen: ef_search, nprobe, k_factor."
    )
    curve = models.JSONField(
        default=list, help_text="Tried while it was built: [[effort, recall, milliseconds], ...]."
    )
    recall_now = models.FloatField(null=True, help_text="The same, on queries asked lately.")
    measured_at = models.DateTimeField(null=True)
    feed_identity = models.CharField(max_length=200)
    feed_snapshot = models.TextField()
    build_seconds = models.FloatField()
    built_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]
        get_latest_by = "id"
        indexes: ClassVar = [models.Index(fields=["table", "space", "-id"], name="snapshot_newest")]

    def __str__(self) -> str:
        return self.folder


class QuerySample(models.Model):
    """A vector that was searched for lately: what recall is measured with. Says not who asked."""

    space = models.ForeignKey(Space, models.CASCADE, related_name="+")
    vector = HalfVectorField()
    asked_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes: ClassVar = [models.Index(fields=["space", "-asked_at"], name="sample_newest")]

    def __str__(self) -> str:
        return f"asked at {self.asked_at:%Y-%m-%d %H:%M}"
