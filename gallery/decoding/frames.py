"""What a decode process does with a video: says what it is, and gives some of its frames as images.

FFmpeg gets an open file and nothing else. It may use the readers of a few containers only and no
protocol at all, so a playlist or a reference in the file leads nowhere. Each call works for a few
seconds and says where it has come to; the next one goes on there, in this process or another.
"""

from __future__ import annotations

import base64
import io
import math
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from fractions import Fraction
from typing import IO, Any, NoReturn, TypedDict

import av
import av.error
import av.filter
import av.logging
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from django.conf import settings
from PIL.Image import Image as Pixels
from PIL.Image import Resampling, Transpose

from gallery import colours, texts, thumbnails
from gallery.errors import ImageRefused
from gallery.videos.containers import FFMPEG_FORMATS, KINDS

EVERY, SCENES = "every", "scenes"

MAX_EDGE = 1920  # pixels of the longer side of a frame; the video itself has the rest
_QUALITY = 85
_STILL_EDGE = 32
_STILL_LEVELS = 12  # of 255
_SCENE_SCORE = 10.0  # of FFmpeg's scdet, 0 to 100; its own default
LONGEST_SCENE_SECONDS = 60.0  # one without a cut gives a frame so often all the same
_MOST_BYTES = 64 * 2**20  # of the frames of one answer
_MOST_BROKEN = 200  # packets in a row that cannot be decoded
_MANY_FRAMES = 10**6
_SEEK_SECONDS = 1.0  # what is nearer is reached by decoding
_TURNS = {90: Transpose.ROTATE_90, 180: Transpose.ROTATE_180, 270: Transpose.ROTATE_270}
_PLACE = re.compile(r"([+-]\d{1,2}(?:\.\d+)?)([+-]\d{1,3}(?:\.\d+)?)")
_WHEN = ("com.apple.quicktime.creationdate", "creation_time")
_WHERE = ("com.apple.quicktime.location.ISO6709", "location")
_CAMERA = ("com.apple.quicktime.make", "com.apple.quicktime.model")
_YEARS = range(1990, 2200)  # cameras without a clock write 1904 or 1970
_NO_VIDEO = f"The file is no video of a kind that is taken: {KINDS}."

av.logging.set_level(av.logging.PANIC)  # what FFmpeg thinks of a file is no news for the log


class Place(TypedDict):
    """Where the next call goes on: what one call tells the next."""

    at: float  # seconds: what comes before was looked at
    last: float | None  # seconds of the frame that was looked at last
    grey: str  # the one taken last, small and in base64
    is_due: bool  # a cut was seen, and its frame not taken yet


class Asked(TypedDict):
    """How frames are to be taken."""

    mode: str
    step: float  # seconds between two frames, at least
    until: float  # seconds; a longer video is refused
    most: int  # frames in one answer
    seconds: float  # that one call works, about
    mark: str  # written into each frame
    place: Place


def probe(file: IO[bytes], seconds: float) -> dict[str, Any]:
    """Say what a video is, within so many seconds. Raise ImageRefused for what is none."""
    with _opened(file) as video:
        _check_dimensions(video.codec.width, video.codec.height)
        video.work_for(seconds)
        try:
            first = next(video.frames(), None)
        except _Late:
            first = None
        if first is None:
            raise ImageRefused("No picture of the video can be decoded.")
        width, height = _size(first[1], video.pixel_ratio)
        return {
            "width": width,
            "height": height,
            "seconds": video.length() or video.measured(seconds),
            **_of_metadata({**video.stream.metadata, **video.container.metadata}),
        }


def take(file: IO[bytes], asked: Asked) -> tuple[dict[str, Any], bytes]:
    """Take the next frames; return what is said of each, and their files one behind the other."""
    with _opened(file) as video:
        taker = _Taker(asked, video.pixel_ratio)
        frames = _by_time if asked["mode"] == EVERY else _by_scene
        is_over = frames(video, taker)
        said = {
            "frames": taker.said,
            "place": taker.place,
            "is_over": is_over,
            "reached": video.at,
            "is_damaged": video.is_damaged,
        }
        return said, b"".join(taker.bodies)


class _Late(Exception):
    """This call has worked for long enough."""


class _Video:
    """An open video. Time counts from its first picture, as players count it."""

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        self.container, self.stream = container, stream
        self.codec = stream.codec_context
        self.is_damaged = False
        self.at = -1.0
        self._origin = (container.start_time or 0) / av.time_base
        self._deadline = float("inf")
        self._broken = 0

    @property
    def pixel_ratio(self) -> float:
        """Return how much wider than high a pixel is; what is absurd counts as square."""
        ratio = self.stream.sample_aspect_ratio
        return float(ratio) if ratio and Fraction(1, 4) <= ratio <= 4 else 1.0

    def length(self) -> float:
        """Return how long it says it is, 0 where it says nothing."""
        if self.container.duration:
            return max(self.container.duration / av.time_base, 0.0)
        if self.stream.duration and self.stream.time_base:
            return max(float(self.stream.duration * self.stream.time_base), 0.0)
        return 0.0

    def measured(self, seconds: float) -> float:
        """Return the time of its last packet, reading for so long: what browsers record says none.

        Of a file that takes longer, it is that of the last packet read.
        """
        last, until = 0.0, time.monotonic() + seconds
        for packet in self._packets():
            if time.monotonic() > until:
                break
            last = max(last, self._seconds(packet.pts, packet.time_base))
        return last

    def work_for(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds

    def from_key_frame(self, seconds: float) -> Iterator[tuple[float, VideoFrame]]:
        """Yield what comes from the key frame before, or from the beginning."""
        time_base = self.stream.time_base or Fraction(1, av.time_base)
        offset = int((seconds + self._origin) / time_base)
        try:
            self.container.seek(offset, stream=self.stream)
        except av.error.FFmpegError:
            with suppress(av.error.FFmpegError):
                self.container.seek(0)
        return self.frames()

    def frames(self) -> Iterator[tuple[float, VideoFrame]]:
        """Yield what comes, with its time. Raise _Late; what is broken is passed over."""
        for packet in self._packets():
            if time.monotonic() > self._deadline:
                raise _Late
            for frame in self._decoded(packet):
                _check_dimensions(frame.width, frame.height)
                self.at = self._seconds(frame.pts, frame.time_base)
                yield self.at, frame

    def _packets(self) -> Iterator[Packet[VideoStream]]:
        try:
            yield from self.container.demux(self.stream)
        except (av.error.FFmpegError, av.error.EOFError):
            self.is_damaged = True

    def _decoded(self, packet: Packet[VideoStream]) -> list[VideoFrame]:
        try:
            frames = packet.decode()
        except av.error.EOFError:
            return []
        except av.error.MemoryError:
            raise
        except av.error.FFmpegError:
            self.is_damaged = True
            self._broken += 1
            if self._broken > _MOST_BROKEN:
                raise ImageRefused("The video is damaged: it cannot be decoded.") from None
            return []
        self._broken = 0
        return frames

    def _seconds(self, pts: int | None, time_base: Fraction | None) -> float:
        if pts is None or time_base is None:
            return max(self.at, 0.0)
        return max(float(pts * time_base) - self._origin, 0.0)


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
        pixels = _upright(frame, self._pixel_ratio)
        grey = pixels.resize((_STILL_EDGE, _STILL_EDGE), Resampling.BOX).convert("L").tobytes()
        if _is_still(self._grey, grey):
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


def _by_time(video: _Video, taker: _Taker) -> bool:
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
    except _Late:
        return False
    return True


def _by_scene(video: _Video, taker: _Taker) -> bool:
    """Take a frame after each cut; return whether the video is over."""
    step, place = taker.asked["step"], taker.place
    begin = place["at"]
    frames = video.from_key_frame(begin) if begin > 0 else video.frames()
    video.work_for(taker.asked["seconds"])
    cuts = _Cuts()
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
    except _Late:
        return False
    return True


def _is_wanted(place: Place, since: float, step: float) -> bool:
    if place["last"] is None:
        return True
    return since >= step and (place["is_due"] or since >= LONGEST_SCENE_SECONDS)


class _Cuts:
    """FFmpeg's own measure of a change of scene, from one frame to the next."""

    def __init__(self) -> None:
        self._graph: av.filter.Graph | None = None
        self._kind: tuple[int, int, str] | None = None

    def is_cut(self, frame: VideoFrame) -> bool:
        kind = (frame.width, frame.height, frame.format.name)
        if self._graph is None or kind != self._kind:
            self._graph, self._kind = _scdet(frame), kind
        self._graph.vpush(frame)
        try:
            return "lavfi.scd.time" in self._graph.vpull().metadata
        except (av.error.BlockingIOError, av.error.EOFError):
            return False


def _scdet(frame: VideoFrame) -> av.filter.Graph:
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=frame.width,
        height=frame.height,
        format=frame.format,
        time_base=frame.time_base or Fraction(1, 1000),
    )
    measure = graph.add("scdet", f"threshold={_SCENE_SCORE}")
    sink = graph.add("buffersink")
    source.link_to(measure)
    measure.link_to(sink)
    graph.configure()
    return graph


def _is_still(one: bytes, other: bytes) -> bool:
    """Whether no part of the picture has changed: noise and compression are evened out."""
    return len(one) == len(other) and all(
        abs(a - b) <= _STILL_LEVELS for a, b in zip(one, other, strict=True)
    )


def _upright(frame: VideoFrame, pixel_ratio: float) -> Pixels:
    """Return the picture as players show it: square pixels, turned, within MAX_EDGE."""
    pixels: Pixels = frame.to_image()  # type: ignore[no-untyped-call]  # typed but for its options
    width, height = pixels.width * pixel_ratio, pixels.height
    scale = min(1.0, MAX_EDGE / max(width, height))
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    if size != pixels.size:
        pixels = pixels.resize(size, Resampling.BICUBIC, reducing_gap=2.0)
    turn = _turn(frame)
    return pixels.transpose(_TURNS[turn]) if turn else pixels


def _size(frame: VideoFrame, pixel_ratio: float) -> tuple[int, int]:
    """Return width and height as players show the picture."""
    width, height = max(round(frame.width * pixel_ratio), 1), frame.height
    return (height, width) if _turn(frame) in (90, 270) else (width, height)


def _turn(frame: VideoFrame) -> int:
    """Return by how much it is to be turned to the left, in quarters; what is odd is none."""
    turn = round(frame.rotation) % 360
    return turn if turn in _TURNS else 0


def _check_dimensions(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise ImageRefused("The video has no pixels.")
    if width * height > settings.MAX_IMAGE_PIXELS:
        raise ImageRefused(
            f"The video has {width * height / 1e6:,.1f} megapixels; at most "
            f"{settings.MAX_IMAGE_PIXELS / 1e6:,g} are taken."
        )


def _of_metadata(written: dict[str, str]) -> dict[str, Any]:
    """Return what is known of time, place and camera; anything odd counts as not written."""
    moments = [_moment(written.get(name, "")) for name in _WHEN]
    places = [_PLACE.match(written.get(name, "")) for name in _WHERE]
    place = next(filter(None, places), None)
    latitude, longitude = (float(place[1]), float(place[2])) if place else (None, None)
    if latitude is None or longitude is None or abs(latitude) > 90 or abs(longitude) > 180:
        latitude = longitude = None
    camera = " ".join(written.get(name, "") for name in _CAMERA)
    return {
        "taken_at": next(filter(None, moments), None),
        "latitude": latitude,
        "longitude": longitude,
        "camera": texts.printable(camera)[:200].strip(),
    }


def _moment(written: str) -> str | None:
    try:
        moment = datetime.fromisoformat(written)
    except ValueError:
        return None
    return moment.isoformat() if moment.tzinfo and moment.year in _YEARS else None


@contextmanager
def _opened(file: IO[bytes]) -> Iterator[_Video]:
    """Open a video. Raise ImageRefused for what FFmpeg cannot read, OSError of the file itself."""
    options = {"format_whitelist": ",".join(FFMPEG_FORMATS), "protocol_whitelist": "none"}
    with (
        _refusing(),
        av.open(
            file, "r", container_options=options, io_open=_open_nothing, metadata_errors="replace"
        ) as container,
    ):
        pictures = [
            stream
            for stream in container.streams.video
            if not stream.disposition & av.stream.Disposition.attached_pic
        ]
        if not pictures:
            raise ImageRefused("There are no moving pictures in the file.")
        stream = pictures[0]
        if stream.codec_context is None:
            raise ImageRefused("The video is coded in a way that cannot be read.")
        stream.codec_context.thread_count = 1  # its siblings decode other files meanwhile
        stream.codec_context.options = {"max_pixels": str(settings.MAX_IMAGE_PIXELS)}
        yield _Video(container, stream)


def _open_nothing(*_: object, **__: object) -> NoReturn:
    raise ImageRefused("The file names other files; only what is in it is read.")


@contextmanager
def _refusing() -> Iterator[None]:
    """Turn what FFmpeg raises into ImageRefused, but not a failure of the file itself."""
    try:
        yield
    except (av.error.MemoryError, MemoryError) as error:
        raise ImageRefused("Decoding the video takes more memory than one may take.") from error
    except av.error.DecoderNotFoundError as error:
        raise ImageRefused("The video is coded in a way that cannot be read.") from error
    except av.error.FFmpegError as error:
        raise ImageRefused(_NO_VIDEO) from error
