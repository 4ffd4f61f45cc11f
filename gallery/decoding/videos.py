"""Opens videos that nobody has vouched for, in processes that may die of them.

What is done there is in `frames`. A video is worked on some seconds at a time, so that images have
their turn between, and its frames come in small numbers, so that memory holds few of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Any

from django.conf import settings

from gallery.decoding import decoders
from gallery.decoding.decoders import Done, Studied
from gallery.errors import ImageRefused
from gallery.exif import Exif

_FRAMES_AT_ONCE = 8
_CALL_SECONDS = 15.0  # that one call works, or half of DECODE_SECONDS where that is less
_MOST_OF_A_CALL = 0.9  # of DECODE_SECONDS: the process is ended behind it


@dataclass(frozen=True, kw_only=True)
class Probed:
    """What a video is. Time, place and camera as its maker wrote them, if at all."""

    width: int  # as displayed
    height: int
    seconds: float  # as it says; 0: nobody knows
    taken_at: datetime | None
    latitude: float | None
    longitude: float | None
    camera: str


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One frame as an image, with all that its record needs."""

    seconds: float
    jpeg: bytes
    studied: Studied


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How frames are to be taken."""

    mode: str  # every or scenes
    step_seconds: float  # between two of them, at least
    mark: str  # a short text that is written into each frame


class OpenVideo:
    """A video whose file is at hand. Each method raises ImageRefused as `decoders` does."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.is_damaged = False
        self.reached = 0.0  # seconds of the last picture that was decoded

    def probe(self) -> Probed:
        """Say what it is, having decoded its first picture."""
        said = self._ask("probe_video", {"seconds": _call_seconds()}).said
        taken_at = said.pop("taken_at")
        return Probed(**said, taken_at=taken_at and datetime.fromisoformat(taken_at))

    def frames(self, plan: Plan) -> Iterator[Frame]:
        """Yield frames in the order of time; `is_damaged` and `reached` say then how it went."""
        asked: dict[str, Any] = {
            "mode": plan.mode,
            "step": plan.step_seconds,
            "until": settings.VIDEO_MAX_SECONDS,
            "most": _FRAMES_AT_ONCE,
            "seconds": _call_seconds(),
            "mark": plan.mark,
        }
        place: dict[str, Any] = {"at": 0.0, "last": None, "grey": "", "is_due": False}
        worked = 0.0
        while True:
            before = place
            said, body, seconds = self._ask("take_frames", {**asked, "place": place})
            yield from _unpacked(said["frames"], body)
            place, is_over = said["place"], said["is_over"]
            self.is_damaged = self.is_damaged or said["is_damaged"]
            self.reached = max(self.reached, said["reached"])
            if is_over:
                return
            # Decoding alone: a slow storage, or others who decode, are no fault of the video's.
            worked += seconds
            if worked > settings.VIDEO_DECODE_SECONDS:
                raise ImageRefused(
                    f"Decoding frames of the video takes longer than "
                    f"{settings.VIDEO_DECODE_SECONDS:,} seconds."
                )
            if place == before:
                asked["seconds"] = _longer(asked["seconds"])

    def _ask(self, work: str, asked: dict[str, Any]) -> Done:
        return decoders.ask({"work": work, "asked": asked}, self._descriptor, what="video")


@contextmanager
def opened(file: IO[bytes]) -> Iterator[OpenVideo]:
    """Open a video, as often as it takes; one that lies nowhere is copied once."""
    with decoders.descriptor_of(file) as descriptor:
        yield OpenVideo(descriptor)


def _call_seconds() -> float:
    return min(_CALL_SECONDS, float(settings.DECODE_SECONDS) / 2)


def _longer(seconds: float) -> float:
    """Return for how long the next call should work, where one has come no further.

    Each begins at the key frame before its place. Raise ImageRefused when it may not be longer.
    """
    most = _MOST_OF_A_CALL * float(settings.DECODE_SECONDS)
    if seconds >= most:
        raise ImageRefused(
            "Its key frames lie too far apart: from one to the next frame that is due, decoding "
            f"the video takes longer than {most:,g} seconds."
        )
    return min(2 * seconds, most)


def _unpacked(frames: list[dict[str, Any]], body: bytes | bytearray) -> Iterator[Frame]:
    start = 0
    for one in frames:
        lengths = [one["jpeg"], *(length for _, length in one["thumbnails"])]
        files = []
        for length in lengths:
            files.append(bytes(body[start : start + length]))
            start += length
        edges = [edge for edge, _ in one["thumbnails"]]
        studied = Studied(
            mime_type="image/jpeg",
            width=one["width"],
            height=one["height"],
            frames=1,
            exif=Exif(),
            colours=one["colours"],
            # Frames of one video are alike by nature: nobody is asked which of them to keep.
            pixel_sha256="",
            perceptual_hash=None,
            thumbnails=dict(zip(edges, files[1:], strict=True)),
        )
        yield Frame(seconds=one["seconds"], jpeg=files[0], studied=studied)
