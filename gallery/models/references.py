"""Originals that are not ours: they stay in a bucket or folder of others, and are read there."""

from __future__ import annotations

from django.db import models

from gallery.models.images import Image


class Place(models.Model):
    """A bucket or a folder with originals. Nothing is ever written or deleted there."""

    address = models.CharField(
        max_length=1500, editable=False, help_text="A folder, or s3://bucket/prefix?options."
    )
    is_anonymous = models.BooleanField(
        default=False, editable=False, help_text="Whether the bucket is asked without keys."
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["address", "is_anonymous"], name="place_once")
        ]

    def __str__(self) -> str:
        return self.address.partition("?")[0]


class Reference(models.Model):
    """Where the original of an image is that has no file of its own, and which version of it.

    What is there in another version is another file, and never taken for this one.
    """

    image = models.OneToOneField(
        Image, models.CASCADE, primary_key=True, related_name="reference", editable=False
    )
    place = models.ForeignKey(Place, models.PROTECT, related_name="references", editable=False)
    key = models.TextField(editable=False, help_text="What the place calls it.")
    version = models.CharField(
        max_length=200, editable=False, help_text="ETag of an object; size and time of a file."
    )

    def __str__(self) -> str:
        return f"{self.place}/{self.key}"
