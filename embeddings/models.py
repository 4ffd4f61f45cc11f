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
from embeddings.encoders.precisions import TOWERS


class Space(models.Model):
    """One encoder at one revision: the home of vectors that may be compared."""

    class State(models.TextChoices):
        FILLING = "filling", "Filling"  # gets vectors, also of all that is new, once it is filled
        ACTIVE = "active", "Active"  # the same, and searches use it
        RETIRED = "retired", "Retired"  # gets none

    name = models.CharField(max_length=500, help_text="Name of the encoder.")
    revision = models.CharField(max_length=100, help_text="Revision of its checkpoint.")
    dimensions = models.PositiveIntegerField()  # 0 until a worker has opened its encoder
    state = models.CharField(max_length=10, choices=State.choices, default=State.FILLING)
    created_at = models.DateTimeField(auto_now_add=True)
    is_paused = models.BooleanField(
        default=False, db_default=False, help_text="No worker embeds for it until it is resumed."
    )
    filling_since = models.DateTimeField(null=True, editable=False)
    filled_at = models.DateTimeField(
        null=True, editable=False, help_text="When it had a vector of all that the active one has."
    )
    active_until = models.DateTimeField(
        null=True, editable=False, help_text="When another one took its place."
    )
    retired_at = models.DateTimeField(
        null=True, editable=False, help_text="Since when its vectors are being removed."
    )
    is_shown = models.BooleanField(
        default=True, db_default=True, help_text="All subjects say of their vector what is so here."
    )
    trouble = models.TextField(
        blank=True, default="", db_default="", help_text="Why no worker can embed for it."
    )

    class Meta:
        verbose_name_plural = "encoders"  # as people know them, in the admin
        constraints = [
            models.UniqueConstraint(fields=["name", "revision"], name="space_once_per_revision"),
            models.UniqueConstraint(
                fields=["state"], condition=models.Q(state="active"), name="space_one_active"
            ),
            models.CheckConstraint(
                condition=~models.Q(state="active", is_paused=True), name="space_active_goes_on"
            ),
        ]

    def __str__(self) -> str:
        # Of an id on the hub that was not fetched yet, nobody knows the revision.
        return f"{self.title} @ {self.revision[:12]}" if self.revision else self.title

    @classmethod
    def in_use(cls) -> models.QuerySet[Space]:
        """Return the spaces that get vectors: prepared ones that are not retired."""
        return cls.objects.exclude(state=cls.State.RETIRED).exclude(dimensions=0)

    @property
    def is_prepared(self) -> bool:
        """Whether its encoder was opened once: before, nobody knows its width."""
        return self.dimensions > 0

    @property
    def is_being_filled(self) -> bool:
        """Whether it was begun beside an active one, and nobody searches it yet."""
        is_begun = self.state == self.State.FILLING and self.filling_since is not None
        return is_begun and self.filled_at is None

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


class EncoderProof(models.Model):
    """How a faster precision of a tower compares with float32, on a project's own images and texts.

    It holds for one processor and the versions of what computes. A row is begun before anything is
    measured: what kills the process that measures is not tried for ever.
    """

    space = models.ForeignKey(Space, models.CASCADE, related_name="proofs")
    tower = models.CharField(max_length=10, choices=[(name, name) for name in TOWERS])
    precision = models.CharField(max_length=20)
    processor = models.CharField(max_length=250, help_text="Name, and what it is quick at.")
    versions = models.CharField(max_length=250, help_text="Of what makes and runs the tower.")
    calibration = models.JSONField(
        null=True, editable=False, help_text="Value ranges that int8 of images was made with."
    )
    calibration_id = models.CharField(max_length=12, blank=True, editable=False)
    images = models.PositiveIntegerField(default=0, help_text="Images that it was compared on.")
    texts = models.PositiveIntegerField(default=0, help_text="Texts that it was compared on.")
    vectors = models.PositiveBigIntegerField(default=0, help_text="What the space held then.")
    cosine_min = models.FloatField(null=True)
    cosine_mean = models.FloatField(null=True)
    overlap = models.FloatField(
        null=True, help_text="Share of float32's ten nearest that it finds."
    )
    recall = models.FloatField(null=True, help_text="recall@10 of captions.")
    recall_float32 = models.FloatField(null=True, help_text="The same in float32.")
    milliseconds = models.FloatField(null=True, help_text="One text, or an image of a batch.")
    milliseconds_float32 = models.FloatField(null=True, help_text="The same in float32.")
    failure = models.TextField(blank=True, help_text="Why it cannot be had at all.")
    attempts = models.PositiveSmallIntegerField(default=0)
    begun_at = models.DateTimeField()
    made_at = models.DateTimeField(null=True, help_text="When it was measured.")

    class Meta:
        ordering = ["-begun_at", "-pk"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["space", "tower", "precision", "processor", "versions"],
                name="proof_once",
            )
        ]

    def __str__(self) -> str:
        return f"{self.tower} in {self.precision}"
