"""Images that show the same: pairs that were found, groups to review, verdicts that are kept."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from gallery.models.images import Image


class DuplicateKind(models.TextChoices):
    """How much two images are alike."""

    BYTES = "bytes", "Same file"  # never a pair: an owner has the same bytes once
    PIXELS = "pixels", "Same pixels"
    NEAR = "near", "Nearly the same"


class Verdict(models.TextChoices):
    """What somebody decided about two images."""

    DIFFERENT = "different", "Not duplicates"
    KEPT = "kept", "Both kept"
    LINKED = "linked", "One is a version of the other"
    REPLACED = "replaced", "One was replaced by the other"


class DuplicateCheck(models.Model):
    """The queue of record: an image that is to be compared with its owner's others."""

    image = models.OneToOneField(Image, models.CASCADE, related_name="duplicate_check")
    attempts = models.PositiveSmallIntegerField(default=0)
    # Until then it is the worker's who took it.
    lease_until = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"comparison of image {self.image_id}"


class DuplicatePair(models.Model):
    """Two images of one owner that are alike, and about which nobody has decided yet."""

    first = models.ForeignKey(Image, models.CASCADE, related_name="+")
    second = models.ForeignKey(Image, models.CASCADE, related_name="+")
    kind = models.CharField(max_length=10, choices=DuplicateKind.choices)
    bits = models.PositiveSmallIntegerField(help_text="In which the perceptual hashes differ.")
    score = models.FloatField(null=True, help_text="Cosine similarity of the vectors.")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["first", "second"], name="duplicate_pair_once"),
            models.CheckConstraint(
                condition=models.Q(first__lt=models.F("second")), name="duplicate_pair_in_order"
            ),
        ]

    def __str__(self) -> str:
        return f"images {self.first_id} and {self.second_id}"


class DuplicateGroup(models.Model):
    """Images to decide about together: its lead, and others that are each a pair with the lead."""

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    lead = models.OneToOneField(Image, models.CASCADE, related_name="+")
    found_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["owner", "-id"], name="duplicate_group_listed")]

    def __str__(self) -> str:
        return f"duplicates of image {self.lead_id}"


class DuplicateMember(models.Model):
    """An image in a group, the lead among them. It is in one group at most."""

    group = models.ForeignKey(DuplicateGroup, models.CASCADE, related_name="members")
    image = models.OneToOneField(Image, models.CASCADE, related_name="duplicate_member")

    def __str__(self) -> str:
        return f"image {self.image_id} in group {self.group_id}"


class DuplicateVerdict(models.Model):
    """What was decided about two files of one owner, whatever becomes of their records.

    It names bytes and not images: so it holds when they are compared again, with another encoder
    too, and when one of them is deleted and comes in once more.
    """

    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="+", editable=False
    )
    first_sha256 = models.CharField(max_length=64, editable=False)
    second_sha256 = models.CharField(max_length=64, editable=False)
    verdict = models.CharField(max_length=10, choices=Verdict.choices, editable=False)
    kept_sha256 = models.CharField(
        max_length=64,
        blank=True,
        editable=False,
        help_text="Of the two: which was linked to, or took the other's place.",
    )
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+", editable=False
    )
    decided_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["-decided_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["owner", "first_sha256", "second_sha256"], name="duplicate_verdict_once"
            ),
            models.CheckConstraint(
                condition=models.Q(first_sha256__lt=models.F("second_sha256")),
                name="duplicate_verdict_in_order",
            ),
        ]
        indexes = [
            # Every new file asks for verdicts about it; by its first sha256 the constraint does.
            models.Index(fields=["owner", "second_sha256"], name="duplicate_verdict_second"),
            models.Index(
                fields=["owner", "kept_sha256"],
                condition=models.Q(verdict__in=("linked", "replaced")),
                name="duplicate_verdict_kept",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_verdict_display()}: {self.first_sha256[:8]} and {self.second_sha256[:8]}"

    @property
    def left_sha256(self) -> str:
        """Of the two: which was not kept."""
        is_first = self.kept_sha256 == self.first_sha256
        return self.second_sha256 if is_first else self.first_sha256
