"""A picture under work, larger than it will be shown, addressed in fractions of the frame."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from scenes.colours import INK, RGB, Shade
from scenes.shapes import Points
from scenes.styles import Finish


class Canvas:
    def __init__(self, size: tuple[int, int], finish: Finish) -> None:
        self.image = Image.new("RGB", size)
        self.finish = finish
        self.width, self.height = size
        self.unit = min(size)  # one pixel is 1 / unit of the shorter side
        self._draw = ImageDraw.Draw(self.image)

    def tinted(self, shade: Shade) -> Shade:
        """A shade of the backdrop, as it looks on this paper."""
        wash = self.finish.wash
        # Pigment in a thin wash stays vivid: mixing alone would leave it grey.
        return replace(shade.mixed(self.finish.paper, wash), chroma=shade.chroma * (1 - wash / 3))

    def polygon(self, points: Points, shade: Shade) -> None:
        """Fill an outline given in fractions of the frame."""
        self._draw.polygon(flat(points, self.width, self.height), fill=shade.rgb)

    def dots(self, points: Points, radius: float, shade: Shade) -> None:
        """Round dots; the radius is a fraction of the shorter side."""
        r, rgb = max(radius * self.unit, 0.5), shade.rgb
        for x, y in (points * (self.width, self.height)).tolist():
            self._draw.ellipse((x - r, y - r, x + r, y + r), fill=rgb)

    def line(self, points: Points, width: float, shade: Shade) -> None:
        pixels = max(round(width * self.unit), 1)
        self._draw.line(flat(points, self.width, self.height), shade.rgb, pixels, joint="curve")

    def fill(self, shades: Sequence[Shade]) -> None:
        """Cover everything with a gradient from top to bottom."""
        self.image.paste(gradient(shades, (self.width, self.height)))

    def layer(self, edge: Points, shades: Sequence[Shade]) -> None:
        """A hill, a shore or a row of houses: all below the edge, in a gradient."""
        top = max(int(edge[:, 1].min() * self.height) - 1, 0)
        size = (self.width, self.height - top)
        mask = Image.new("L", size)
        below = np.concatenate([edge, [(1.0, 1.01), (0.0, 1.01)]]) * (self.width, self.height)
        ImageDraw.Draw(mask).polygon((below - (0, top)).ravel().tolist(), fill=255)
        if self.finish.shadow > 0.3:
            self.shade(mask, (0, top), depth=0.016)
        self.image.paste(gradient(shades, size), (0, top), mask)
        if self.finish.line:
            self.line(edge, self.finish.line * 0.7, INK.mixed(shades[0], 0.45))
        if self.finish.edges:
            self.line(edge, 0.006, shades[0].lighter(-0.06))

    def shade(self, mask: Image.Image, at: tuple[int, int], *, depth: float) -> None:
        """A soft shadow of what the mask covers, thrown down and to the right."""
        reach = max(round(depth * self.unit), 1)
        small = mask.reduce(4) if min(mask.size) > 200 else mask
        blurred = small.filter(ImageFilter.BoxBlur(reach * small.width / mask.width))
        faint = blurred.resize(mask.size).point(faded(self.finish.shadow))
        self.image.paste((30, 26, 50), (at[0] + reach // 2, at[1] + reach // 3), faint)


@lru_cache(maxsize=32)
def faded(strength: float) -> list[int]:
    """What `Image.point` takes to weaken a mask."""
    return [round(value * strength) for value in range(256)]


def flat(points: Points, width: float, height: float) -> list[float]:
    """Points in fractions as Pillow's flat list of pixels."""
    scaled: list[float] = (points * (width, height)).ravel().tolist()
    return scaled


def gradient(shades: Sequence[Shade], size: tuple[int, int]) -> Image.Image:
    """The shades from top to bottom, mixed as the eye would."""
    if len(shades) == 1:
        return Image.new("RGB", size, shades[0].rgb)
    stops: list[RGB] = []
    for shade, following in itertools.pairwise(shades):
        stops += [shade.mixed(following, share).rgb for share in (0.0, 0.25, 0.5, 0.75)]
    stops.append(shades[-1].rgb)
    column = Image.fromarray(np.array(stops, dtype=np.uint8)[:, None, :])
    full = column.resize((1, size[1]), Image.Resampling.BILINEAR)
    return full.resize(size, Image.Resampling.NEAREST)
