"""What can go wrong in the gallery; each text is a sentence to show to the person who asked."""

from __future__ import annotations


class GalleryError(Exception):
    """Base of the gallery's errors."""


class ImageRefused(GalleryError):
    """A file is not taken in; nothing of it was stored."""


class QueryInvalid(GalleryError):
    """A query cannot be answered as it stands."""


class SearchUnavailable(GalleryError):
    """Search cannot answer now: no encoder or no active space."""


class SearchExpired(GalleryError):
    """A ranking is no longer kept, or it is another viewer's."""


class NameTaken(GalleryError):
    """Its owner has a saved search of that name."""
