"""One picture of a video, as players show it."""

from __future__ import annotations

from av.video.frame import VideoFrame
from PIL.Image import Image as Pixels
from PIL.Image import Resampling, Transpose

MAX_EDGE = 1920  # pixels of the longer side of a frame; the video itself has the rest
_STILL_EDGE = 32
_STILL_LEVELS = 12  # of 255
_TURNS = {90: Transpose.ROTATE_90, 180: Transpose.ROTATE_180, 270: Transpose.ROTATE_270}


def upright(frame: VideoFrame, pixel_ratio: float) -> Pixels:
    """Return the picture as players show it: square pixels, turned, within MAX_EDGE."""
    pixels: Pixels = frame.to_image()  # type: ignore[no-untyped-call]  # typed but for its options
    width, height = pixels.width * pixel_ratio, pixels.height
    scale = min(1.0, MAX_EDGE / max(width, height))
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    if size != pixels.size:
        pixels = pixels.resize(size, Resampling.BICUBIC, reducing_gap=2.0)
    turn = _turn(frame)
    return pixels.transpose(_TURNS[turn]) if turn else pixels


def shown_size(frame: VideoFrame, pixel_ratio: float) -> tuple[int, int]:
    """Return width and height as players show the picture."""
    width, height = max(round(frame.width * pixel_ratio), 1), frame.height
    return (height, width) if _turn(frame) in (90, 270) else (width, height)


def _turn(frame: VideoFrame) -> int:
    """Return by how much it is to be turned to the left, in quarters; what is odd is none."""
    turn = round(frame.rotation) % 360
    return turn if turn in _TURNS else 0


def small_grey(pixels: Pixels) -> bytes:
    """Return the picture as `is_still` compares it: so small that noise is evened out."""
    return pixels.resize((_STILL_EDGE, _STILL_EDGE), Resampling.BOX).convert("L").tobytes()


def is_still(one: bytes, other: bytes) -> bool:
    """Whether no part of the picture has changed: noise and compression are evened out."""
    return len(one) == len(other) and all(
        abs(a - b) <= _STILL_LEVELS for a, b in zip(one, other, strict=True)
    )
