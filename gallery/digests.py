"""What an image is recognised by: the sha256 of its pixels, and a perceptual hash.

Both are computed where a new file is decoded anyhow, and stored with its record.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image as Pixels
from PIL.Image import Resampling

from gallery.inspection import Inspected

HASH_BITS = 64

_EDGE = 32  # pixels of the square that is transformed
_KEPT = 8  # frequencies each way
# Where the low frequencies all but vanish there is nothing to recognise: a plain wall, a blank
# page. Their signs would be noise, alike in images that have nothing in common.
_LEAST_CONTRAST = 2.0


class Digests(NamedTuple):
    """What a file is compared by. What is not known of it is empty, or None."""

    sha256: str = ""
    pixel_sha256: str = ""
    perceptual_hash: int | None = None


def pixel_sha256(inspected: Inspected, large: Pixels) -> str:
    """Return the sha256 of the size as displayed and of the pixels, upright and RGB.

    It knows nothing of format, compression or metadata: a PNG and its lossless WebP or TIFF have
    the same one, and so have a JPEG and its copy with other EXIF. `large` are the pixels resized to
    `thumbnails.LARGE`, which is a quarter of the work and less: of an image with a longer side the
    same value says "very probably", and decoding both says whether. Empty for an animation, of
    which only the first frame is decoded: it is the same only as its file is.
    """
    if inspected.frames > 1 and inspected.mime_type != "image/jpeg":
        return ""
    size = b"%d %d " % (inspected.width, inspected.height)
    return hashlib.sha256(size + large.tobytes()).hexdigest()


def perceptual_hash(pixels: Pixels) -> int | None:
    """Return 64 bits that hardly change with size, compression or small marks; None if blank.

    Which of the 8 x 8 lowest frequencies of a cosine transform lie above their median: of the grey
    image at 32 x 32 pixels (Zauner 2010, section 3.2). Signed, as Postgres keeps a bigint.
    """
    small = pixels.resize((_EDGE, _EDGE), Resampling.BOX, reducing_gap=2.0).convert("L")
    frequencies = (_COSINES @ np.asarray(small, dtype=np.float32) @ _COSINES.T).ravel()
    # The first is the mean brightness.
    if np.abs(frequencies[1:]).mean() < _LEAST_CONTRAST:
        return None
    bits: bytes = np.packbits(frequencies > np.median(frequencies)).tobytes()
    return int.from_bytes(bits, signed=True)


def bits_between(one: int, other: int) -> int:
    """Return in how many bits two perceptual hashes differ, 0 to 64."""
    return ((one ^ other) & ((1 << HASH_BITS) - 1)).bit_count()


def _cosines() -> NDArray[np.float32]:
    """Return the first rows of the orthonormal cosine transform (DCT-II), (8, 32)."""
    places, frequencies = np.arange(_EDGE), np.arange(_KEPT)
    rows = np.cos(np.pi / _EDGE * (places + 0.5) * frequencies[:, None]) * np.sqrt(2 / _EDGE)
    rows[0] /= np.sqrt(2)
    return np.asarray(rows, dtype=np.float32)


_COSINES = _cosines()
