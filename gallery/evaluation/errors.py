"""Why a gallery cannot be evaluated."""

from __future__ import annotations

from gallery.errors import GalleryError


class NothingToEvaluate(GalleryError):
    """No image, no vector, or no judgement to measure with."""


class NotYet(GalleryError):
    """It cannot be evaluated now, but in a moment."""


class JudgementsRefused(GalleryError):
    """A file of judgements is not what it says; nothing of it is used."""
