"""How large a file may be, as far as its name tells. What it is, its bytes decide."""

from __future__ import annotations

import io
from typing import IO

from django.conf import settings

from gallery.errors import ImageRefused
from gallery.trees import names


def most_bytes(name: str) -> int:
    """Return how many bytes a file of this name may have: a video more than an image."""
    return int(settings.VIDEO_MAX_BYTES if names.is_video(name) else settings.MAX_IMAGE_BYTES)


def most_bytes_of_any() -> int:
    """Return how many bytes any file may have."""
    if settings.VIDEO_FRAMES == names.OFF:
        return int(settings.MAX_IMAGE_BYTES)
    return int(max(settings.VIDEO_MAX_BYTES, settings.MAX_IMAGE_BYTES))


def check_size(file: IO[bytes]) -> int:
    """Return the size of a video's file; raise ImageRefused where it is over the limit."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    if size > settings.VIDEO_MAX_BYTES:
        raise ImageRefused(
            f"The video has {size / 1e6:,.1f} MB; at most {settings.VIDEO_MAX_BYTES / 1e6:,g} MB "
            "are taken."
        )
    return size
