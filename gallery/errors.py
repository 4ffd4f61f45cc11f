"""What can go wrong in the gallery; each text is a sentence to show to the person who asked."""

from __future__ import annotations


class GalleryError(Exception):
    """Base of the gallery's errors."""


class ImageRefused(GalleryError):
    """A file is not taken in; nothing of it was stored."""


class StorageUnavailable(GalleryError):
    """The files of images cannot be written or read now; nothing is wrong with the image."""


class StorageAway(StorageUnavailable):
    """The storage does not answer. It will again, without anybody having to do something here."""


class QueryInvalid(GalleryError):
    """A query cannot be answered as it stands."""


class SearchUnavailable(GalleryError):
    """Search cannot answer now: no encoder or no active space."""


class SearchExpired(GalleryError):
    """A ranking is no longer kept, or it is another viewer's."""


class SpaceRefused(GalleryError):
    """What is asked of a space cannot be done in the state that it is in."""


class NameTaken(GalleryError):
    """Its owner has a saved search, or an auto tag, of that name."""


class AutoTagInvalid(GalleryError):
    """An auto tag cannot be kept as it is written."""


class DuplicatesChanged(GalleryError):
    """A group of duplicates is no longer what the person who decides about it has seen."""
