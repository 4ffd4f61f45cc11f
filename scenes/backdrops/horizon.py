"""What stands at the horizon, pale with distance."""

from __future__ import annotations

import numpy as np

from scenes.backdrops.view import View, lit
from scenes.colours import Shade
from scenes.vocabulary import Light, Place


def paint(view: View) -> None:
    horizon = view.scene.ground.horizon
    if view.scene.place is Place.CITY:
        _skyline(view, horizon, reach=0.30, haze=0.72)
        _skyline(view, horizon, reach=0.19, haze=0.52)
    elif view.scene.place is Place.SEA:
        _headland(view, horizon)
    else:
        _far_hills(view, horizon)


def _far_hills(view: View, horizon: float) -> None:
    haze = view.sky[-1]
    land = view.land()
    for lift, share in ((0.07, 0.72), (0.035, 0.5)):
        edge = view.ridge(horizon - lift, 0.035, waves=1.2)
        view.canvas.layer(edge, [land.mixed(haze, share).lighter(-0.02), haze.mixed(land, 0.4)])


def _headland(view: View, horizon: float) -> None:
    """A low coast that ends in the sea."""
    haze = view.sky[-1]
    rock = view.canvas.tinted(lit(Shade(0.62, 0.05, 240), view.scene.light)).mixed(haze, 0.5)
    tip, corner = view.random.uniform(0.25, 0.6), view.random.choice((0.0, 1.0))
    share = np.linspace(0, 1, 24)
    rise = view.random.uniform(0.04, 0.09) * (1 - share) ** 0.7 * (1 + 0.2 * np.sin(share * 17))
    coast = np.stack([abs(corner - tip * share), horizon - rise], axis=1)
    view.canvas.polygon(np.concatenate([coast, [(corner, horizon + 0.01)]]), rock)


def _skyline(view: View, horizon: float, *, reach: float, haze: float) -> None:
    """A row of towers with windows, some of them lit."""
    wall = Shade(0.60, 0.05, view.random.uniform(240, 300))
    wall = view.canvas.tinted(lit(wall, view.scene.light)).mixed(view.sky[-1], haze)
    pane = wall.mixed(Shade(0.93, 0.09, 90), 0.55 if view.scene.light is Light.NIGHT else 0.22)
    edge: list[tuple[float, float]] = []
    windows: list[tuple[float, float]] = []
    x = -view.random.uniform(0, 0.05)
    while x < 1.0:
        width = view.random.uniform(0.045, 0.11)
        top = horizon - reach * view.random.uniform(0.3, 1.0)
        edge += [(x, top), (x + width, top)]
        columns, rows = int(width / 0.022), int((horizon - top) / 0.032)
        windows += [
            (x + width * (column + 0.5) / columns, top + 0.026 + 0.032 * row)
            for column in range(columns)
            for row in range(rows)
            if view.random.random() < 0.55
        ]
        x += width
    view.canvas.layer(np.array(edge), [wall, wall.mixed(view.sky[-1], 0.4)])
    for (left, top), (right, _) in zip(edge[::2], edge[1::2], strict=True):
        paint = wall.mixed(Shade(wall.lightness, 0.09, view.random.uniform(0, 360)), 0.4)
        front = [(left, top), (right, top), (right, horizon), (left, horizon)]
        if view.random.random() < 0.6:
            view.canvas.polygon(np.array(front), paint.lighter(view.random.uniform(-0.02, 0.02)))
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * (0.0045, 0.0075)
    for window in windows:
        view.canvas.polygon(corners + window, pane)
