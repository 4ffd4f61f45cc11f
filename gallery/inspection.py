"""Opens a file that nobody has vouched for, and says what image it is.

Only the bytes count: a file name or content type is never asked. Whatever is wrong comes out as
ImageRefused with a sentence for the person who sent the file.
"""

from __future__ import annotations

import io
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import IO, cast

import pillow_heif
from django.conf import settings
from PIL import Image as PillowImage
from PIL import UnidentifiedImageError
from PIL.Image import DecompressionBombError, DecompressionBombWarning, Transpose
from PIL.Image import Image as Pixels

from gallery import colour_modes, exif
from gallery.errors import ImageRefused

# Once, at import: a process has one Pillow, and its limits may not change under a running thread.
# An embedded thumbnail is not decoded in place of a HEIF: it may show something else.
pillow_heif.register_heif_opener(
    thumbnails=False, depth_images=False, aux_images=False, decode_threads=1
)
PillowImage.MAX_IMAGE_PIXELS = settings.MAX_IMAGE_PIXELS
warnings.filterwarnings("error", category=DecompressionBombWarning)

MIME_TYPES = {
    "JPEG": "image/jpeg",
    "MPO": "image/jpeg",  # a JPEG with further JPEGs behind it, as phones write
    "PNG": "image/png",
    "WEBP": "image/webp",
    "GIF": "image/gif",
    "AVIF": "image/avif",
    "TIFF": "image/tiff",
    "BMP": "image/bmp",
    "HEIF": "image/heic",
}
_FORMATS = [name for name in MIME_TYPES if name != "MPO"]  # Pillow opens MPO as JPEG

QUERY_EDGE = 512  # pixels of the shorter side; no encoder looks at more of an image that is shown
MAX_EDGE = 65_535  # pixels; the most that a JPEG can say

# Pillow reads in Python, piece by piece. A file of millions of tiny pieces would hold a thread for
# minutes (JPEG markers even quadratically); a real one needs some tens to open, thousands at most
# for the rest.
_OPENING_READS = 10_000
_DECODING_READS = 1_000_000

# 50 megapixels of WebP take 750 MB while they are decoded: one such image at a time, whatever the
# number of threads. Decode processes put a room here that they share.
_LARGE_PIXELS = 12_000_000
room_for_large: AbstractContextManager[object] = threading.Lock()

# What Pillow's parsers let through on hostile bytes.
_BROKEN = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)

_TURNS = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}


@dataclass(frozen=True, kw_only=True)
class Inspected:
    """An image that was found sound."""

    pixels: Pixels  # first frame, RGB in sRGB, upright, without metadata
    mime_type: str
    width: int  # as displayed; pixels may be smaller
    height: int
    frames: int
    exif: exif.Exif


def open_image(file: IO[bytes], *, edge: int | None = None) -> Inspected:
    """Decode a file wholly, or raise ImageRefused.

    With `edge`, large images are decoded smaller where that is quicker; the shorter side keeps at
    least `edge` pixels if the file has them. An OSError of the file itself is passed on.
    """
    source = _Source(file)
    with source.refusing("The file is cut short or damaged."):
        image = _open(source)
        frames = _count_frames(image)
        return _decode(image, frames=frames, edge=edge)


def open_for_encoder(file: IO[bytes], edge: int) -> Pixels:
    """Return the upright RGB pixels of a file that was taken in before, decoded near `edge`.

    A 12-megapixel JPEG costs a tenth of a full decode. Frames are not counted again.
    """
    source = _Source(file)
    with source.refusing("The file is cut short or damaged."):
        return _decode(_open(source), frames=1, edge=edge).pixels


def check_size(file: IO[bytes]) -> int:
    """Return the file's size in bytes; raise ImageRefused if it is empty or over the limit."""
    file.seek(0, io.SEEK_END)
    size = file.tell()
    file.seek(0)
    if size == 0:
        raise ImageRefused("The file is empty.")
    if size > settings.MAX_IMAGE_BYTES:
        raise ImageRefused(
            f"The file has {size / 1e6:,.1f} MB; at most {settings.MAX_IMAGE_BYTES / 1e6:,g} MB "
            "are taken."
        )
    return size


class _Source(io.BufferedIOBase):
    """A file as Pillow reads it: within a number of reads, its own failures kept apart."""

    def __init__(self, file: IO[bytes]) -> None:
        check_size(file)
        self._file = file
        self._failure: OSError | None = None
        self.reads_left = _OPENING_READS

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads_left -= 1
        if self.reads_left < 0:
            raise ImageRefused("The file is cut into far too many small pieces.")
        try:
            return self._file.read(-1 if size is None else size)
        except OSError as error:
            self._failure = error
            raise

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    @contextmanager
    def refusing(self, sentence: str) -> Iterator[None]:
        """Turn what Pillow raises into ImageRefused, but not a failure of disk or network."""
        try:
            yield
        except (DecompressionBombError, DecompressionBombWarning) as error:
            raise ImageRefused(_too_many_pixels()) from error
        except UnidentifiedImageError as error:
            raise ImageRefused(
                "The file is not an image of a kind that is taken: "
                "JPEG, PNG, WebP, GIF, AVIF, HEIC, TIFF, BMP."
            ) from error
        except MemoryError as error:
            raise ImageRefused("Decoding the image takes more memory than one may take.") from error
        except _BROKEN as error:
            if self._failure is not None:
                raise self._failure from error
            raise ImageRefused(sentence) from error


def _open(source: _Source) -> Pixels:
    """Read the header and check what it says, before anything is decoded."""
    image = PillowImage.open(cast("IO[bytes]", source), formats=_FORMATS)
    source.reads_left = _DECODING_READS
    _check_dimensions(*image.size)
    return image


def _check_dimensions(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise ImageRefused("The image has no pixels.")
    if max(width, height) > MAX_EDGE:
        raise ImageRefused(f"The image is {width:,} x {height:,} pixels; no side may pass 65,535.")
    if width * height > settings.MAX_IMAGE_PIXELS:
        raise ImageRefused(_too_many_pixels(f"{width * height / 1e6:,.1f}"))


def _too_many_pixels(megapixels: str = "far too many") -> str:
    limit = f"{settings.MAX_IMAGE_PIXELS / 1e6:,g}"
    return f"The image has {megapixels} megapixels; at most {limit} are taken."


def _count_frames(image: Pixels) -> int:
    most = settings.MAX_IMAGE_FRAMES
    if image.format == "TIFF":
        return _count_pages(image, most)
    frames = int(getattr(image, "n_frames", 1))
    if frames > most:
        raise ImageRefused(f"The file has {frames:,} frames; at most {most:,} are taken.")
    return frames


def _count_pages(image: Pixels, most: int) -> int:
    # Pillow's own count of a TIFF's pages takes quadratic time, so it never goes past the limit.
    for page in range(1, most + 1):
        try:
            image.seek(page)
        except EOFError:
            image.seek(0)
            return page
    raise ImageRefused(f"The file has more than {most:,} pages.")


def _room_for(size: tuple[int, int]) -> AbstractContextManager[object]:
    return room_for_large if size[0] * size[1] > _LARGE_PIXELS else nullcontext()


def _decode(image: Pixels, *, frames: int, edge: int | None) -> Inspected:
    width, height = image.size
    if edge is not None:
        image.draft(None, (edge, edge))
    is_drafted = image.size != (width, height)
    with _room_for(image.size):
        image.load()
        if not is_drafted:
            # HEIF and TIFF know their real size, turned upright, only now.
            width, height = image.size
            _check_dimensions(width, height)
        read = exif.read(image)
        if read.orientation > 4:
            width, height = height, width
        pixels = colour_modes.flatten(image)
        if edge is not None and (factor := min(pixels.size) // edge) > 1:
            pixels = pixels.reduce(factor)
        pixels = colour_modes.to_srgb(pixels, image.info.get("icc_profile"))
        if read.orientation in _TURNS:
            pixels = pixels.transpose(_TURNS[read.orientation])
    pixels.info.clear()
    return Inspected(
        pixels=pixels,
        mime_type=MIME_TYPES[image.format or ""],
        width=width,
        height=height,
        frames=frames,
        exif=read,
    )
