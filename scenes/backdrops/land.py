"""The ground, and what grows and lies on it."""

from __future__ import annotations

import numpy as np

from scenes.backdrops.view import View, lit
from scenes.colours import WHITE, Shade
from scenes.shapes import Points, ellipse
from scenes.vocabulary import Place


def paint(view: View, top: float, bottom: float) -> None:
    shade = view.land()
    steps = 1 if bottom - top < 0.3 else 3
    for step in range(steps):
        y = top + (bottom - top) * step / steps * 0.9
        tone = shade.lighter(0.03 - 0.035 * step + view.random.uniform(-0.01, 0.01))
        view.canvas.layer(_land_edge(view, y, step), [tone.lighter(0.015), tone.lighter(-0.03)])
    if view.scene.place is Place.MEADOW:
        _tufts(view, top, bottom, shade)
    elif view.scene.place is Place.CITY:
        _pavement(view, top, bottom, shade)
    else:
        _stones(view, top, bottom, shade)
        if view.scene.place is Place.DESERT:
            _cacti(view, top, shade)


def _land_edge(view: View, y: float, step: int) -> Points:
    if view.scene.place is Place.DESERT:
        return _dune(view, y, 0.025 + 0.02 * step)
    if view.scene.place is Place.CITY:
        return np.array([(0.0, y), (1.0, y)])
    return view.ridge(y, 0.014 + 0.012 * step, waves=0.9)


def _dune(view: View, y: float, height: float) -> Points:
    """Slow rises and steep falls."""
    x = np.linspace(0, 1, 48)
    phase = view.random.uniform(0, 1)
    saw = (x * view.random.uniform(1.2, 2.2) + phase) % 1.0
    crest = np.where(saw < 0.7, saw / 0.7, (1 - saw) / 0.3)
    return np.stack([x, y - height * (crest**1.5 - 0.3)], axis=1)


def _tufts(view: View, top: float, bottom: float, shade: Shade) -> None:
    blade = shade.lighter(-0.08)
    for _ in range(26):
        x, y = view.random.random(), view.random.uniform(top + 0.05, bottom)
        size = 0.01 + 0.014 * y
        for lean in (-0.6, 0.0, 0.6):
            tip = (x + lean * size, y - size * (1.3 - 0.4 * abs(lean)))
            base = size * 0.16
            view.canvas.polygon(np.array([(x - base, y), tip, (x + base, y)]), blade)
    view.sprinkle(22, top + 0.06, bottom, 0.0042, shade.mixed(WHITE, 0.6))


def _stones(view: View, top: float, bottom: float, shade: Shade) -> None:
    """Pebbles of the beach and the desert, drifts of snow."""
    for _ in range(12):
        x, y = view.random.random(), view.random.uniform(top + 0.06, bottom)
        width = view.random.uniform(0.008, 0.022) * (0.5 + y)
        height = width * (0.22 if view.scene.place is Place.SNOW else 0.5)
        view.canvas.polygon(ellipse(x, y, width, height), shade.lighter(-0.08))
        view.canvas.polygon(
            ellipse(x - width * 0.12, y - height * 0.25, width * 0.8, height * 0.75),
            shade.lighter(0.02),
        )


def _cacti(view: View, top: float, shade: Shade) -> None:
    """Far cacti, pale with distance."""
    green = lit(Shade(0.62, 0.07, 150), view.scene.light).mixed(shade, 0.45)
    for _ in range(view.random.randint(2, 4)):
        x, y = view.random.random(), top + view.random.uniform(0.02, 0.06)
        height = view.random.uniform(0.05, 0.09)
        width = height * 0.13
        view.canvas.line(np.array([(x, y), (x, y - height)]), width * 1.4, green)
        for side, lift in ((-1, 0.35), (1, 0.5)):
            elbow = x + side * height * 0.28
            arm = [
                (x, y - height * lift),
                (elbow, y - height * lift),
                (elbow, y - height * (lift + 0.3)),
            ]
            view.canvas.line(np.array(arm), width, green)


def _pavement(view: View, top: float, bottom: float, shade: Shade) -> None:
    kerb = shade.lighter(0.06)
    joint = shade.lighter(-0.035)
    middle = view.random.uniform(0.3, 0.7)
    for foot in np.linspace(-1.5, 2.5, 13):
        across = middle + (foot - middle) * 0.35
        view.canvas.line(np.array([(across, top), (foot, 1.0)]), 0.003, joint)
    view.canvas.line(np.array([(0.0, top + 0.012), (1.0, top + 0.012)]), 0.012, kerb)
    for k in (0.18, 0.42, 0.72):
        y = top + (1.0 - top) * k
        if y < bottom:
            view.canvas.line(np.array([(0.0, y), (1.0, y)]), 0.003, joint)


def paint_blades(view: View) -> None:
    """Blades in the lower corners, near the eye."""
    place, has_lake = view.scene.place, view.scene.ground.shore is not None
    if place is Place.CITY or (place not in (Place.MEADOW, Place.SEA) and not has_lake):
        return
    blade = view.canvas.tinted(lit(Shade(0.50, 0.08, 140), view.scene.light))
    for corner in (0.0, 1.0):
        for _ in range(view.random.randint(4, 9)):
            x = corner + (0.5 - corner) * view.random.uniform(-0.1, 0.28)
            height, lean = view.random.uniform(0.05, 0.15), view.random.uniform(-0.03, 0.03)
            points = [
                (x - 0.006, 1.01),
                (x + lean * 0.3, 1 - height * 0.6),
                (x + lean, 1 - height),
                (x + lean * 0.3 + 0.006, 1 - height * 0.55),
                (x + 0.006, 1.01),
            ]
            tone = blade.lighter(view.random.uniform(-0.05, 0.05))
            view.canvas.polygon(np.array(points), tone)
