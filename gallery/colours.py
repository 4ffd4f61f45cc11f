"""The dominant colours of an image, for a person's eye and for colour filters."""

from __future__ import annotations

from typing import TypedDict

from PIL.Image import Image as Pixels
from PIL.Image import Quantize, Resampling

MAX_COLOURS = 5

_EDGE = 64  # pixels; more say the same
_CANDIDATES = 16
_NEAR = 75.0  # weighted RGB distance, 0 to about 765, below which two colours have one name
_LEAST_SHARE = 0.02  # less is noise, or the blur between two colours

RGB = tuple[int, int, int]


class Colour(TypedDict):
    hex: str
    share: float  # of the image's pixels, 0 to 1


def dominant(pixels: Pixels) -> list[Colour]:
    """Return at most five colours that differ clearly, largest share first."""
    small = pixels.copy()
    small.thumbnail((_EDGE, _EDGE), Resampling.BOX)
    quantized = small.quantize(_CANDIDATES, method=Quantize.MEDIANCUT)
    palette = quantized.getpalette("RGB") or []
    counts = enumerate(quantized.histogram()[: len(palette) // 3])

    pixels_by_colour: dict[RGB, int] = {}
    for entry, count in sorted(counts, key=lambda pair: pair[1], reverse=True):
        red, green, blue = palette[3 * entry : 3 * entry + 3]
        colour = (red, green, blue)
        near = next((kept for kept in pixels_by_colour if _distance(kept, colour) < _NEAR), colour)
        pixels_by_colour[near] = pixels_by_colour.get(near, 0) + count

    total = small.width * small.height
    largest = sorted(pixels_by_colour.items(), key=lambda item: item[1], reverse=True)
    return [
        {"hex": "#{:02x}{:02x}{:02x}".format(*colour), "share": round(count / total, 3)}
        for colour, count in largest[:MAX_COLOURS]
        if count >= total * _LEAST_SHARE
    ]


def _distance(one: RGB, other: RGB) -> float:
    """Distance in RGB weighted as the eye does ("redmean")."""
    red_mean = (one[0] + other[0]) / 2
    red, green, blue = (a - b for a, b in zip(one, other, strict=True))
    return float(
        ((2 + red_mean / 256) * red**2 + 4 * green**2 + (2 + (255 - red_mean) / 256) * blue**2)
        ** 0.5
    )
