"""Seas and lakes."""

from __future__ import annotations

import math

import numpy as np

from scenes.backdrops.view import View, lit
from scenes.colours import WHITE, Shade
from scenes.vocabulary import Place

WATERS = (Shade(0.68, 0.09, 232), Shade(0.72, 0.08, 210), Shade(0.66, 0.08, 245))


def paint(view: View, top: float, bottom: float) -> None:
    shade = view.random.choice(WATERS)
    water = view.canvas.tinted(lit(shade, view.scene.light))
    far = water.mixed(view.sky[-1], 0.45)
    is_sea = view.scene.place is Place.SEA
    edge = np.array([(0.0, top), (1.0, top)]) if is_sea else view.ridge(top, 0.012, waves=1.1)
    if not is_sea:
        view.canvas.layer(edge - (0, 0.014), [view.land().lighter(-0.1)])
    view.canvas.layer(edge, [far, water, water.lighter(-0.04), water.lighter(-0.07)])
    for _ in range(34):
        y = top + (bottom - top) * view.random.uniform(0.06, 1.0) ** 1.2
        length = 0.02 + 0.09 * (y - top) * view.random.uniform(0.6, 1.6)
        x = view.random.uniform(-0.05, 1.0)
        bend = 0.12 * length
        ripple = np.array(
            [(x + length * t, y + bend * math.sin(6.3 * t)) for t in (0, 0.2, 0.4, 0.6, 0.8, 1)]
        )
        view.canvas.line(ripple, 0.0035 + 0.003 * y, water.mixed(WHITE, 0.26))
