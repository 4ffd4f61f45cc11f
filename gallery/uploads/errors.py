"""What can go wrong with an upload; each text is a sentence for the person who sends."""

from __future__ import annotations

from gallery.errors import GalleryError


class UploadError(GalleryError):
    """Base of the errors of uploads."""


class UploadInvalid(UploadError):
    """A request about an upload is not one: a header or value is missing or wrong."""


class UploadMissing(UploadError):
    """There is no such upload, or it is somebody else's."""


class UploadConflict(UploadError):
    """More or less of the file is here than the sender thinks."""


class UploadGone(UploadError):
    """What had arrived of the file was removed."""


class PartsLost(UploadGone):
    """What had arrived of the file is not on the disk any more."""


class UploadTooLarge(UploadError):
    """The file, or a part of it, is larger than may be."""


class TooMuchUnfinished(UploadError):
    """One user has begun more than he may before he finishes some of it."""
