"""What a decode process is asked to do. Each function gives what is said, and the bytes with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import IO, Any

from gallery import colours, digests, inspection, thumbnails

Done = tuple[dict[str, Any], bytes]


def study(file: IO[bytes], edge: int) -> Done:
    """Say all that a record needs of a file, decoded once; thumbnails are the bytes."""
    inspected = inspection.open_image(file, edge=edge)
    large = thumbnails.resized(inspected.pixels, thumbnails.LARGE)
    webp = thumbnails.both(large)
    exif = asdict(inspected.exif)
    taken_at = inspected.exif.taken_at
    exif["taken_at"] = taken_at and taken_at.isoformat()
    said = {
        "mime_type": inspected.mime_type,
        "width": inspected.width,
        "height": inspected.height,
        "frames": inspected.frames,
        "exif": exif,
        "colours": colours.dominant(large),
        "pixel_sha256": digests.pixel_sha256(inspected, large),
        "perceptual_hash": digests.perceptual_hash(large),
        "thumbnails": [[edge, len(content)] for edge, content in webp.items()],
    }
    return said, b"".join(webp.values())


def open_new(file: IO[bytes], edge: int) -> Done:
    """Give the pixels of a file that nobody has looked at yet."""
    pixels = inspection.open_image(file, edge=edge).pixels
    return {"size": pixels.size}, pixels.tobytes()


def open_stored(file: IO[bytes], edge: int) -> Done:
    """Give the pixels of a file that was taken in before, near `edge`."""
    pixels = inspection.open_for_encoder(file, edge)
    return {"size": pixels.size}, pixels.tobytes()


WORKS: dict[str, Callable[[IO[bytes], int], Done]] = {
    work.__name__: work for work in (study, open_new, open_stored)
}
