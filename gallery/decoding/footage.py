"""An open video: FFmpeg's pictures with their times, for as long as a call may work.

FFmpeg gets an open file and nothing else. It may use the readers of a few containers only and no
protocol at all, so a playlist or a reference in the file leads nowhere.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from typing import IO, NoReturn

import av
import av.error
import av.logging
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from django.conf import settings

from gallery.errors import ImageRefused
from gallery.videos.containers import FFMPEG_FORMATS, KINDS

_MOST_BROKEN = 200  # packets in a row that cannot be decoded
_NO_VIDEO = f"The file is no video of a kind that is taken: {KINDS}."

av.logging.set_level(av.logging.PANIC)  # what FFmpeg thinks of a file is no news for the log


class Late(Exception):
    """This call has worked for long enough."""


class Footage:
    """What FFmpeg reads of an open video. Time counts from its first picture, as in players."""

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
        """Yield what comes, with its time. Raise Late; what is broken is passed over."""
        for packet in self._packets():
            if time.monotonic() > self._deadline:
                raise Late
            for frame in self._decoded(packet):
                check_dimensions(frame.width, frame.height)
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


@contextmanager
def opened(file: IO[bytes]) -> Iterator[Footage]:
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
        yield Footage(container, stream)


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


def check_dimensions(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise ImageRefused("The video has no pixels.")
    if width * height > settings.MAX_IMAGE_PIXELS:
        raise ImageRefused(
            f"The video has {width * height / 1e6:,.1f} megapixels; at most "
            f"{settings.MAX_IMAGE_PIXELS / 1e6:,g} are taken."
        )
