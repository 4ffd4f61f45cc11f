"""Tags that images get by what they show: prompts, what their scores mean, and what people said."""

from __future__ import annotations

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from embeddings.models import Space
from gallery.models.images import Image, Tag


class TagMode(models.TextChoices):
    """What happens with an image that an auto tag fits."""

    SUGGEST = "suggest", "Suggest it"
    APPLY = "apply", "Apply it where it is likely"


class SuggestionState(models.TextChoices):
    OPEN = "open", "Suggested"
    APPLIED = "applied", "Applied"  # the image has the tag, and nobody has confirmed it
    ACCEPTED = "accepted", "Accepted"
    REJECTED = "rejected", "Rejected"


class AutoTag(models.Model):
    """A tag with prompts, for the images of its owner. Changed through `auto_tags.changes`."""

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="auto_tags")
    tag = models.ForeignKey(Tag, models.PROTECT, related_name="auto_tags")
    prompts = models.JSONField(help_text="What an image shows that gets the tag: one of these.")
    templates = models.JSONField(help_text="Sentences into which each prompt is put, at {}.")
    wording = models.CharField(
        max_length=64, editable=False, help_text="sha256 of prompts and templates."
    )
    mode = models.CharField(max_length=10, choices=TagMode.choices, default=TagMode.SUGGEST)
    wanted_precision = models.FloatField(
        default=0.9,
        validators=[MinValueValidator(0.5), MaxValueValidator(0.99)],
        help_text="Share of the images it is applied to that must show it.",
    )
    # Grows with every change: what was computed for an older one is computed anew.
    version = models.PositiveIntegerField(default=1, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["tag__name"]
        constraints = [
            models.UniqueConstraint(fields=["owner", "tag"], name="auto_tag_once_per_owner")
        ]

    def __str__(self) -> str:
        return self.tag.name


class AutoTagCalibration(models.Model):
    """What the scores of an auto tag mean in one space: its vectors, and from where on it fits."""

    auto_tag = models.ForeignKey(AutoTag, models.CASCADE, related_name="calibrations")
    space = models.ForeignKey(Space, models.CASCADE, related_name="+")
    wording = models.CharField(max_length=64, help_text="Of which the vectors are.")
    vectors = models.BinaryField(help_text="float32: a row of the space's width for each prompt.")
    version = models.PositiveIntegerField(
        null=True, help_text="Of the auto tag, when all images were last compared with it."
    )
    mean = models.FloatField(default=0, help_text="Median score on just any image.")
    deviation = models.FloatField(default=0, help_text="By the median too.")
    population = models.PositiveBigIntegerField(default=0, help_text="Vectors in the space.")
    accepted = models.PositiveIntegerField(default=0, help_text="Answers it was made with.")
    rejected = models.PositiveIntegerField(default=0)
    suggest_at = models.FloatField(null=True, help_text="Least score to suggest; none: never.")
    apply_at = models.FloatField(null=True, help_text="Least score to apply; none: never.")
    border = models.FloatField(null=True, help_text="Where yes and no are about as likely.")
    is_fitted = models.BooleanField(default=False, help_text="The limits follow the answers.")
    note = models.TextField(blank=True, help_text="What its owner should know.")
    calibrated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["auto_tag", "space"], name="auto_tag_calibrated_once_per_space"
            )
        ]

    def __str__(self) -> str:
        return f"calibration of auto tag {self.auto_tag_id} in space {self.space_id}"


class TagSuggestion(models.Model):
    """What an auto tag and its owner say about an image: suggested, applied, yes or no.

    A yes or a no stays, whatever is computed later and with which encoder.
    """

    auto_tag = models.ForeignKey(
        AutoTag,
        models.CASCADE,
        related_name="suggestions",
        db_index=False,  # the constraint's serves
    )
    image = models.ForeignKey(Image, models.CASCADE, related_name="tag_suggestions")
    state = models.CharField(max_length=10, choices=SuggestionState.choices)
    score = models.FloatField(
        null=True, help_text="In the active space; none: not compared in it yet."
    )
    # Else the tag on the image is a person's own, and is never taken away.
    is_linked = models.BooleanField(
        default=False, help_text="The image has the tag by this, and by nothing else."
    )
    is_untagged = models.BooleanField(
        default=False, help_text="By this no the image lost a tag that a person had set."
    )
    answered_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+"
    )
    answered_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["auto_tag", "image"], name="tag_suggested_once")
        ]
        indexes = [models.Index(fields=["auto_tag", "state"], name="tag_suggestion_state")]

    def __str__(self) -> str:
        return f"auto tag {self.auto_tag_id} on image {self.image_id}: {self.state}"


class AutoTagReader(models.Model):
    """How far the change feed of a space's vectors has been compared with all auto tags."""

    space = models.OneToOneField(Space, models.CASCADE, related_name="+")
    identity = models.CharField(max_length=300)
    snapshot = models.TextField()
    read_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return f"auto tags in space {self.space_id}"
