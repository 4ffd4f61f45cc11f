"""Image records: one row an image, and what is known about it."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from django.conf import settings
from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVectorField
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.functions import MD5, Cast, Upper

from gallery import addresses

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser


class Tag(models.Model):
    """A word that many images share. Names are lower case, trimmed."""

    name = models.CharField(max_length=100, unique=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Album(models.Model):
    """A named set of one owner's images; an image lies in one album or none."""

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="albums")
    name = models.CharField(max_length=200)
    created_at = models.DateTimeField(auto_now_add=True)
    made_by = models.ForeignKey(
        "gallery.ImportRun",
        models.SET_NULL,
        null=True,
        editable=False,
        related_name="albums",
        help_text="The import that made it, and removes it with its images when it is undone.",
    )

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(fields=["owner", "name"], name="album_name_once_per_owner")
        ]

    def __str__(self) -> str:
        return self.name


class Visibility(models.TextChoices):
    PUBLIC = "public", "Public"
    PRIVATE = "private", "Private"


class State(models.TextChoices):
    WAITING = "waiting", "Waiting"
    READY = "ready", "Ready"
    FAILED = "failed", "Failed"


class ImageQuerySet(models.QuerySet["Image"]):
    def visible_to(self, viewer: AbstractBaseUser | AnonymousUser) -> ImageQuerySet:
        """Keep what the viewer may see: public images, own ones; a superuser sees all.

        Without PUBLIC_SEARCH, visitors who are not logged in see nothing.
        """
        if not viewer.is_authenticated:
            public = self.filter(visibility=Visibility.PUBLIC)
            return public if settings.PUBLIC_SEARCH else self.none()
        if getattr(viewer, "is_superuser", False):
            return self
        return self.filter(models.Q(visibility=Visibility.PUBLIC) | models.Q(owner=viewer.pk))

    def shown_to(self, viewer: AbstractBaseUser | AnonymousUser) -> ImageQuerySet:
        """Keep what searches may show the viewer: of an image and its versions, the image."""
        return self.visible_to(viewer).filter(version_of=None)


class Image(models.Model):
    """One file with its record. Comes in through `ingest.add_image`, leaves through `removal`."""

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="images")
    file = models.FileField(max_length=255, editable=False)
    thumbnail_small = models.FileField(max_length=255, editable=False)
    thumbnail_large = models.FileField(max_length=255, editable=False)

    sha256 = models.CharField(max_length=64, editable=False)
    # What it is recognised by: gallery/digests.py. Empty where it was not computed yet.
    pixel_sha256 = models.CharField(max_length=64, blank=True, db_default="", editable=False)
    perceptual_hash = models.BigIntegerField(null=True, editable=False)
    version_of = models.ForeignKey(
        "self",
        models.SET_NULL,
        null=True,
        editable=False,
        related_name="versions",
        help_text="Searches show that image in place of this one.",
    )
    # By its uuid, so that what shows a frame can name the video without reading its row.
    video = models.ForeignKey(
        "gallery.Video",
        models.PROTECT,  # it leaves through `removal`, with its file
        to_field="uuid",
        null=True,
        editable=False,
        db_index=False,  # the constraint's serves
        related_name="frames",
        help_text="Of which this is a frame.",
    )
    video_seconds = models.FloatField(
        null=True, editable=False, help_text="At which second of its video it is."
    )
    original_name = models.CharField("file name", max_length=255, blank=True)
    mime_type = models.CharField("MIME type", max_length=50, editable=False)
    width = models.PositiveIntegerField(editable=False, help_text="Pixels, as displayed.")
    height = models.PositiveIntegerField(editable=False, help_text="Pixels, as displayed.")
    bytes = models.PositiveBigIntegerField(editable=False)

    taken_at = models.DateTimeField(null=True, blank=True)
    camera = models.CharField(max_length=200, blank=True)
    latitude = models.FloatField(
        null=True, blank=True, validators=[MinValueValidator(-90), MaxValueValidator(90)]
    )
    longitude = models.FloatField(
        null=True, blank=True, validators=[MinValueValidator(-180), MaxValueValidator(180)]
    )
    colours = models.JSONField(
        default=list,
        editable=False,
        help_text='Dominant colours, largest first: [{"hex": "#aabbcc", "share": 0.4}, ...].',
    )

    caption = models.TextField(blank=True, max_length=10_000)
    tags = models.ManyToManyField(Tag, blank=True, related_name="images")
    album = models.ForeignKey(Album, models.SET_NULL, null=True, blank=True, related_name="images")
    category = models.CharField(max_length=100, blank=True, db_index=True)
    metadata = models.JSONField(default=dict, blank=True)
    source_url = models.URLField("source URL", max_length=2000, blank=True)
    licence = models.CharField(max_length=200, blank=True)
    attribution = models.CharField(max_length=500, blank=True)

    visibility = models.CharField(max_length=10, choices=Visibility.choices)
    state = models.CharField(
        max_length=10, choices=State.choices, default=State.WAITING, editable=False
    )
    failure = models.TextField(blank=True, editable=False, help_text="Why embedding failed.")
    added_at = models.DateTimeField(auto_now_add=True, db_index=True)
    changed_at = models.DateTimeField(auto_now=True)

    # Kept by Postgres itself (triggers of migration 0002): caption, further captions and tags,
    # category, file name, metadata.
    full_text = SearchVectorField(null=True, editable=False)

    objects = ImageQuerySet.as_manager()

    class Meta:
        ordering = ["-added_at", "-id"]
        constraints = [
            models.UniqueConstraint(fields=["owner", "sha256"], name="image_once_per_owner"),
            models.UniqueConstraint(
                fields=["video", "video_seconds"],
                condition=models.Q(video__isnull=False),
                name="image_frame_once",
            ),
            models.CheckConstraint(
                condition=models.Q(video__isnull=True, video_seconds__isnull=True)
                | models.Q(video__isnull=False, video_seconds__isnull=False),
                name="image_frame_has_time",
            ),
        ]
        indexes = [
            GinIndex(fields=["full_text"], name="image_full_text"),
            GinIndex(fields=["metadata"], name="image_metadata", opclasses=["jsonb_path_ops"]),
            models.Index(fields=["taken_at"], name="image_taken_at"),
            models.Index(fields=["visibility", "owner"], name="image_rights"),
            models.Index(fields=["state"], name="image_state"),
            # As the lookups of gallery/query/lookups.py ask: in any case of letters, in pixels.
            models.Index(Upper("camera"), name="image_camera"),
            models.Index(Upper("category"), name="image_category"),
            models.Index(Upper("licence"), name="image_licence"),
            models.Index(fields=["mime_type"], name="image_format"),
            models.Index(fields=["width"], name="image_width"),
            models.Index(fields=["height"], name="image_height"),
            models.Index(fields=["bytes"], name="image_bytes"),
            models.Index(
                Cast("width", models.BigIntegerField()) * models.F("height"), name="image_pixels"
            ),
            models.Index(
                fields=["latitude", "longitude"],
                condition=models.Q(latitude__isnull=False),
                name="image_place",
            ),
            # Alike images of one owner; a comparison reads all hashes, and nothing but this index.
            models.Index(fields=["owner", "pixel_sha256"], name="image_pixel_sha256"),
            models.Index(fields=["owner", "perceptual_hash", "id"], name="image_perceptual_hash"),
            # And image_colours, over columns that the model does not have: migration 0005.
        ]

    def __str__(self) -> str:
        return self.original_name or str(self.uuid)

    def get_absolute_url(self) -> str:
        return addresses.of("image", self.uuid)


class CaptionQuerySet(models.QuerySet["Caption"]):
    def further(self) -> CaptionQuerySet:
        """Leave out the images' own captions, which `Image.caption` holds already."""
        return self.exclude(source="")


class Caption(models.Model):
    """A text about an image: its own caption, and further ones.

    A further caption says where it is from ("coco", "catalogue", ...). The row with the source ""
    is Image.caption, kept by Postgres itself (triggers of migration 0004): change the image.
    """

    image = models.ForeignKey(Image, models.CASCADE, related_name="captions")
    text = models.TextField(max_length=10_000)
    source = models.CharField(max_length=100)
    added_at = models.DateTimeField(auto_now_add=True)

    objects = CaptionQuerySet.as_manager()

    class Meta:
        ordering = ["id"]
        constraints = [
            # Of the text's hash: an index entry holds 2.7 kB, a caption more.
            models.UniqueConstraint("image", "source", MD5("text"), name="caption_once_per_source"),
            models.UniqueConstraint(
                fields=["image"], condition=models.Q(source=""), name="caption_own_once"
            ),
        ]

    def __str__(self) -> str:
        return self.text[:80]
