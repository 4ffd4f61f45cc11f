"""What every part of a backdrop is painted with, and the lines that several share."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import numpy as np

from scenes.canvas import Canvas
from scenes.colours import Shade
from scenes.scene import Scene
from scenes.shapes import Points
from scenes.vocabulary import Light, Place

LANDS: dict[Place, tuple[Shade, ...]] = {
    Place.SEA: (Shade(0.87, 0.06, 85), Shade(0.90, 0.04, 75)),  # its beach
    Place.DESERT: (Shade(0.80, 0.09, 72), Shade(0.78, 0.09, 55), Shade(0.84, 0.08, 82)),
    Place.SNOW: (Shade(0.93, 0.02, 235), Shade(0.94, 0.02, 280), Shade(0.92, 0.025, 210)),
    Place.MEADOW: (Shade(0.78, 0.11, 130), Shade(0.80, 0.10, 118), Shade(0.75, 0.10, 145)),
    Place.CITY: (Shade(0.80, 0.015, 270), Shade(0.82, 0.02, 60), Shade(0.78, 0.02, 230)),
}

_GLOW = Shade(0.70, 0.10, 35)
_DARK = Shade(0.27, 0.09, 268)


def lit(shade: Shade, light: Light) -> Shade:
    """A shade of daylight, seen in this light."""
    if light is Light.DAY:
        return shade
    if light is Light.SUNSET:
        return shade.lighter(-0.05).mixed(_GLOW, 0.24)
    own = Shade(0.48 * shade.lightness, 0.9 * shade.chroma, shade.hue)
    return own.mixed(_DARK, 0.4)


@dataclass(frozen=True)
class View:
    """A scene on its canvas. Parts draw their whims from one random source, so order counts."""

    scene: Scene
    canvas: Canvas
    random: Random
    sky: list[Shade]  # from the zenith down to the horizon

    def land(self) -> Shade:
        """The ground of the place, in this light and on this paper."""
        shades = LANDS[self.scene.place]
        shade = shades[self.scene.seed % len(shades)]
        return self.canvas.tinted(lit(shade, self.scene.light))

    def sprinkle(self, count: int, top: float, bottom: float, radius: float, shade: Shade) -> None:
        """Scatter dots of two sizes."""
        points = [(self.random.random(), self.random.uniform(top, bottom)) for _ in range(count)]
        self.canvas.dots(np.array(points[: count // 2]), radius, shade)
        self.canvas.dots(np.array(points[count // 2 :]), radius * 0.6, shade)

    def ridge(self, y: float, height: float, *, waves: float) -> Points:
        """A rolling line across the frame about y."""
        x = np.linspace(0, 1, 48)
        phase, second = self.random.uniform(0, 6.3), self.random.uniform(0, 6.3)
        stretch = waves * self.random.uniform(0.8, 1.25)
        roll = np.sin(x * stretch * 6.3 + phase) * 0.65 + np.sin(x * stretch * 14 + second) * 0.2
        return np.stack([x, y + height * roll], axis=1)
