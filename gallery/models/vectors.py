"""Vectors of images and captions, and the queues of those that wait for theirs."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from embeddings.models import AbstractEmbedding, AbstractEmbeddingJob
from gallery.models.images import Caption, Image


class ImageEmbedding(AbstractEmbedding):
    """Vectors of images: a vector table of the plugin."""

    image = models.ForeignKey(Image, models.CASCADE, related_name="embeddings")

    filter_tables = (
        "gallery.Tag", "gallery.Image_tags", "gallery.Album", "gallery.Caption",
        "gallery.SourceLink", settings.AUTH_USER_MODEL,
    )  # fmt: skip

    class Meta(AbstractEmbedding.Meta):
        constraints = [
            models.UniqueConstraint(fields=["image", "space"], name="image_once_per_space")
        ]


class ImageEmbeddingJob(AbstractEmbeddingJob):
    """The queue of record: an image that waits for its vector in a space."""

    image = models.ForeignKey(Image, models.CASCADE, related_name="jobs")

    class Meta(AbstractEmbeddingJob.Meta):
        verbose_name = "embedding job"
        constraints = [
            models.UniqueConstraint(fields=["image", "space"], name="job_once_per_space")
        ]


class CaptionEmbedding(AbstractEmbedding):
    """Vectors of captions: words are compared with words.

    Postgres itself deletes them, and their jobs, with the caption and when its text is changed
    (triggers of migration 0004).
    """

    caption = models.ForeignKey(Caption, models.DO_NOTHING, related_name="embeddings")

    class Meta(AbstractEmbedding.Meta):
        constraints = [
            models.UniqueConstraint(fields=["caption", "space"], name="caption_once_per_space")
        ]


class CaptionEmbeddingJob(AbstractEmbeddingJob):
    """A caption that waits for its vector in a space."""

    caption = models.ForeignKey(Caption, models.DO_NOTHING, related_name="jobs")

    class Meta(AbstractEmbeddingJob.Meta):
        verbose_name = "caption embedding job"
        constraints = [
            models.UniqueConstraint(fields=["caption", "space"], name="caption_job_once_per_space")
        ]
