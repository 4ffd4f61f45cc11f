"""What a decode process does with a video: says what it is, and gives some of its frames as images.

Each call works for a few seconds and says where it has come to; the next one goes on there, in
this process or another.
"""

from __future__ import annotations

import base64
import io
import math
from typing import IO, Any, TypedDict

from av.video.frame import VideoFrame
from PIL.Image import Image as Pixels

from gallery import colours, thumbnails
from gallery.decoding.cuts import Cuts
from gallery.decoding.footage import Footage, Late, check_dimensions, opened
from gallery.decoding.pictures import is_still, shown_size, small_grey, upright
from gallery.decoding.video_facts import of_metadata
from gallery.errors import ImageRefused

_QUALITY = 85
_LONGEST_SCENE_SECONDS = 60.0  # one without a cut gives a frame so often all the same
_MOST_BYTES = 64 * 2**20  # of the frames of one answer
_MANY_FRAMES = 10**6
_SEEK_SECONDS = 1.0  # what is nearer is reached by decoding


class Place(TypedDict):
    """Where the next call goes on: what one call tells the next."""

    at: float  # seconds: what comes before was looked at
    last: float | None  # seconds of the frame that was looked at last
    grey: str  # the one taken last, small and in base64
    is_due: bool  # a cut was seen, and its frame not taken yet


class Asked(TypedDict):
    """How frames are to be taken."""

    mode: str  # every or scenes
    step: float  # seconds between two frames, at least
    until: float  # seconds; a longer video is refused
    most: int  # frames in one answer
    seconds: float  # that one call works, about
    mark: str  # written into each frame
    place: Place


def probe(file: IO[bytes], seconds: float) -> dict[str, Any]:
    """Say what a video is, within so many seconds. Raise ImageRefused for what is none."""
    with opened(file) as video:
        check_dimensions(video.codec.width, video.codec.height)
        video.work_for(seconds)
        try:
            first = next(video.frames(), None)
        except Late:
            first = None
        if first is None:
            raise ImageRefused("No picture of the video can be decoded.")
        width, height = shown_size(first[1], video.pixel_ratio)
        return {
            "width": width,
            "height": height,
            "seconds": video.length() or video.measured(seconds),
            **of_metadata({**video.stream.metadata, **video.container.metadata}),
        }


def take(file: IO[bytes], asked: Asked) -> tuple[dict[str, Any], bytes]:
    """Take the next frames; return what is said of each, and their files one behind the other."""
    with opened(file) as video:
        taker = _Taker(asked, video.pixel_ratio)
        frames = _by_scene if asked["mode"] == "scenes" else _by_time
        is_over = frames(video, taker)
        said = {
            "frames": taker.said,
            "place": taker.place,
            "is_over": is_over,
            "reached": video.at,
            "is_damaged": video.is_damaged,
        }
        return said, b"".join(taker.bodies)


class _Taker:
    """The frames of one answer, and what the next call must know."""

    def __init__(self, asked: Asked, pixel_ratio: float) -> None:
        self.asked = asked
        self._pixel_ratio = pixel_ratio
        self.place: Place = {**asked["place"]}
        self.said: list[dict[str, Any]] = []
        self.bodies: list[bytes] = []
        self._bytes = 0
        self._grey = base64.b64decode(self.place["grey"])

    @property
    def is_full(self) -> bool:
        return len(self.said) >= self.asked["most"] or self._bytes >= _MOST_BYTES

    @property
    def last(self) -> float:
        return -1.0 if self.place["last"] is None else self.place["last"]

    def take(self, seconds: float, frame: VideoFrame) -> None:
        """Keep the frame, unless it shows what the one before shows."""
        if seconds > self.asked["until"]:
            raise ImageRefused(
                f"The video is longer than {self.asked['until'] / 60:,g} minutes, the most that is "
                "taken."
            )
        seconds = round(seconds, 3)
        if seconds <= self.last:
            return
        self.place["last"] = seconds
        pixels = upright(frame, self._pixel_ratio)
        grey = small_grey(pixels)
        if is_still(self._grey, grey):
            return
        self._grey = grey
        self.place["grey"] = base64.b64encode(grey).decode()
        self._add(seconds, pixels)

    def _add(self, seconds: float, pixels: Pixels) -> None:
        jpeg = io.BytesIO()
        # Two black frames of two videos would be one file; each says whose it is.
        mark = f"{self.asked['mark']} {seconds:.3f}".encode()
        pixels.save(jpeg, "JPEG", quality=_QUALITY, comment=mark)
        large = thumbnails.resized(pixels, thumbnails.LARGE)
        webp = thumbnails.both(large)
        files = [jpeg.getvalue(), *webp.values()]
        self.said.append(
            {
                "seconds": seconds,
                "width": pixels.width,
                "height": pixels.height,
                "colours": colours.dominant(large),
                "jpeg": len(files[0]),
                "thumbnails": [[edge, len(content)] for edge, content in webp.items()],
            }
        )
        self.bodies += files
        self._bytes += sum(map(len, files))


def _by_time(video: Footage, taker: _Taker) -> bool:
    """Take a frame each step; return whether the video is over.

    A key frame within half a step before its time will do: it is had without decoding others.
    """
    step, place = taker.asked["step"], taker.place
    video.work_for(taker.asked["seconds"])
    frames, length = video.frames(), video.length()
    seeks = True
    try:
        for _ in range(_MANY_FRAMES):
            at, before = place["at"], video.at
            found = None
            if seeks and at > 0 and at - before > _SEEK_SECONDS:
                frames = video.from_key_frame(at)
                found = next(frames, None)
                # One that lies behind us was no shorter way: its group of frames is longer than
                # a step, or the file has no index.
                seeks = found is not None and found[0] > max(before, taker.last)
            # Behind its end there is nothing that could be taken too early.
            early = step / 2 if not length or at < length else 0.0
            if found is None or found[0] < at - early:
                found = next((one for one in frames if one[0] >= at), None)
            if found is None:
                return True
            taker.take(*found)
            place["at"] = at + step * max(1, math.ceil((found[0] - at) / step))
            if taker.is_full:
                return False
    except Late:
        return False
    return True


def _by_scene(video: Footage, taker: _Taker) -> bool:
    """Take a frame after each cut; return whether the video is over."""
    step, place = taker.asked["step"], taker.place
    begin = place["at"]
    frames = video.from_key_frame(begin) if begin > 0 else video.frames()
    video.work_for(taker.asked["seconds"])
    cuts = Cuts()
    try:
        for seconds, frame in frames:
            is_cut = cuts.is_cut(frame)  # asked of each: it compares with the one before
            if seconds < begin:
                continue
            place["at"] = seconds
            place["is_due"] = place["is_due"] or is_cut
            if _is_wanted(place, seconds - taker.last, step):
                place["is_due"] = False
                taker.take(seconds, frame)
            if taker.is_full:
                return False
    except Late:
        return False
    return True


def _is_wanted(place: Place, since: float, step: float) -> bool:
    if place["last"] is None:
        return True
    return since >= step and (place["is_due"] or since >= _LONGEST_SCENE_SECONDS)
