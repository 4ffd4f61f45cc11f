"""Colours in OKLCH (lightness, chroma, hue), where equal steps look equal, and their sRGB."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import Enum, auto
from functools import lru_cache
from random import Random

from scenes.vocabulary import Colour

RGB = tuple[int, int, int]


@dataclass(frozen=True)
class Shade:
    lightness: float  # 0 black to 1 white
    chroma: float  # 0 grey to about 0.3
    hue: float  # degrees

    def lighter(self, by: float) -> Shade:
        return replace(self, lightness=min(max(self.lightness + by, 0.0), 1.0))

    def greyer(self, factor: float) -> Shade:
        return replace(self, chroma=self.chroma * factor)

    def mixed(self, other: Shade, share: float) -> Shade:
        """This shade with a share (0 to 1) of the other, mixed in OKLAB."""
        a, b = (1 - share), share
        x = a * self.chroma * _cos(self.hue) + b * other.chroma * _cos(other.hue)
        y = a * self.chroma * _sin(self.hue) + b * other.chroma * _sin(other.hue)
        lightness = a * self.lightness + b * other.lightness
        return Shade(lightness, math.hypot(x, y), math.degrees(math.atan2(y, x)))

    @property
    def rgb(self) -> RGB:
        return _srgb(self)


def _cos(degrees: float) -> float:
    return math.cos(math.radians(degrees))


def _sin(degrees: float) -> float:
    return math.sin(math.radians(degrees))


@lru_cache(maxsize=4096)
def _srgb(shade: Shade) -> RGB:
    """Matrices of Björn Ottosson, "A perceptual color space for image processing" (2020)."""
    light = shade.lightness
    a, b = shade.chroma * _cos(shade.hue), shade.chroma * _sin(shade.hue)
    long = (light + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (light - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (light - 0.0894841775 * a - 1.2914855480 * b) ** 3
    return (
        _channel(4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short),
        _channel(-1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short),
        _channel(-0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short),
    )


def _channel(linear: float) -> int:
    if linear <= 0.0031308:
        encoded = 12.92 * max(linear, 0.0)
    else:
        encoded = 1.055 * min(linear, 1.0) ** (1 / 2.4) - 0.055
    return round(255 * encoded)


WHITE = Shade(1.0, 0.0, 0.0)
INK = Shade(0.24, 0.03, 280.0)


@dataclass(frozen=True)
class ShadeRange:
    """All the shades that one colour word names."""

    lightness: tuple[float, float]
    chroma: tuple[float, float]
    hue: tuple[float, float]

    def pick(self, random: Random) -> Shade:
        return Shade(
            random.uniform(*self.lightness),
            random.uniform(*self.chroma),
            random.uniform(*self.hue),
        )


SHADES: dict[Colour, ShadeRange] = {
    Colour.RED: ShadeRange((0.54, 0.61), (0.185, 0.22), (22, 30)),
    Colour.ORANGE: ShadeRange((0.71, 0.77), (0.15, 0.18), (54, 64)),
    Colour.YELLOW: ShadeRange((0.86, 0.91), (0.14, 0.17), (92, 102)),
    Colour.GREEN: ShadeRange((0.56, 0.68), (0.125, 0.17), (140, 156)),
    Colour.BLUE: ShadeRange((0.52, 0.63), (0.13, 0.18), (245, 262)),
    Colour.PURPLE: ShadeRange((0.47, 0.56), (0.15, 0.19), (298, 312)),
    Colour.PINK: ShadeRange((0.76, 0.83), (0.10, 0.14), (350, 364)),
    Colour.WHITE: ShadeRange((0.965, 0.985), (0.0, 0.012), (60, 260)),
    Colour.BLACK: ShadeRange((0.22, 0.28), (0.0, 0.02), (230, 290)),
}


class Tone(Enum):
    """A role in a figure. All but the last five are made from the figure's own shade."""

    BODY = auto()
    LIGHT = auto()
    PALE = auto()
    DARK = auto()
    DEEP = auto()
    CREAM = auto()
    WOOD = auto()
    GLASS = auto()
    METAL = auto()
    LEAF = auto()


_NEUTRAL_TONES: dict[Tone, Shade] = {
    Tone.CREAM: Shade(0.95, 0.025, 90.0),
    Tone.WOOD: Shade(0.46, 0.06, 55.0),
    Tone.GLASS: Shade(0.87, 0.02, 220.0),
    Tone.METAL: Shade(0.33, 0.015, 260.0),
    Tone.LEAF: Shade(0.52, 0.08, 145.0),
}


@lru_cache(maxsize=1024)
def tones(shade: Shade) -> dict[Tone, Shade]:
    step = 0.06 if shade.lightness > 0.9 else 0.085
    return {
        Tone.BODY: shade,
        Tone.LIGHT: shade.lighter(0.075).greyer(0.9),
        Tone.PALE: shade.mixed(WHITE, 0.62),
        Tone.DARK: shade.lighter(-step),
        Tone.DEEP: shade.lighter(-2 * step),
        **_NEUTRAL_TONES,
    }
