"""What a decode process is asked to do. Each function gives what is said, and the bytes with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import IO, Any

from embeddings.encoders.framing import Framing
from gallery import colours, digests, inspection, thumbnails

Done = tuple[dict[str, Any], bytes]


def study(file: IO[bytes], said: dict[str, Any]) -> Done:
    """Say all that a record needs of a file, decoded once; thumbnails are the bytes."""
    inspected = inspection.open_image(file, edge=said["edge"])
    large = thumbnails.resized(inspected.pixels, thumbnails.LARGE)
    webp = thumbnails.both(large)
    exif = asdict(inspected.exif)
    taken_at = inspected.exif.taken_at
    exif["taken_at"] = taken_at and taken_at.isoformat()
    found = {
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
    return found, b"".join(webp.values())


def open_new(file: IO[bytes], said: dict[str, Any]) -> Done:
    """Give the pixels of a file that nobody has looked at yet."""
    pixels = inspection.open_image(file, edge=said["edge"]).pixels
    return {"size": pixels.size}, pixels.tobytes()


def open_stored(file: IO[bytes], said: dict[str, Any]) -> Done:
    """Give the pixels of a file that was taken in before, near `edge`."""
    pixels = inspection.open_for_encoder(file, said["edge"])
    return {"size": pixels.size}, pixels.tobytes()


def frame_stored(file: IO[bytes], said: dict[str, Any]) -> Done:
    """Give what an encoder looks at of a file that was taken in before, and nothing beyond."""
    framing = Framing.from_json(said["framing"])
    frames = framing.frames(inspection.open_for_encoder(file, framing.edge))
    return {"shape": frames.shape}, frames.tobytes()


def probe_video(file: IO[bytes], said: dict[str, Any]) -> Done:
    """Say what a video is."""
    from gallery.decoding import frames  # FFmpeg is for those that get a video

    return frames.probe(file, said["asked"]["seconds"]), b""


def take_frames(file: IO[bytes], said: dict[str, Any]) -> Done:
    """Give some frames of a video: for each a JPEG and its thumbnails."""
    from gallery.decoding import frames

    return frames.take(file, said["asked"])


WORKS: dict[str, Callable[[IO[bytes], dict[str, Any]], Done]] = {
    work.__name__: work
    for work in (study, open_new, open_stored, frame_stored, probe_video, take_frames)
}
