"""Whether the sources of images still are where they were."""

from __future__ import annotations

from django.db import models

from gallery.models.images import Image


class LinkState(models.TextChoices):
    OK = "ok", "Works"
    BROKEN = "broken", "Broken"
    UNREACHABLE = "unreachable", "Not reached"  # today: the server was down, or slow, or full


class SourceLink(models.Model):
    """What the last look at an image's source URL found; written by `gallery.link_checks` alone.

    A table of its own: a million links that are looked at again change no image. It counts for
    the URL that was looked at, and no longer when the image's is another by now.
    """

    image = models.OneToOneField(
        Image, models.CASCADE, primary_key=True, related_name="source_link", editable=False
    )
    url = models.TextField(editable=False)
    state = models.CharField(max_length=11, choices=LinkState.choices, editable=False)
    reason = models.TextField(blank=True, editable=False, help_text="What the server answered.")
    checked_at = models.DateTimeField(editable=False)

    class Meta:
        indexes = [models.Index(fields=["state"], name="source_link_state")]

    def __str__(self) -> str:
        return self.url

    @property
    def is_broken(self) -> bool:
        return self.state == LinkState.BROKEN

    @classmethod
    def of(cls, image: Image) -> SourceLink | None:
        """Return what is known of the image's source URL as it is now."""
        known: SourceLink | None = getattr(image, "source_link", None)
        return known if known is not None and known.url == image.source_url else None
