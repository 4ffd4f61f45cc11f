"""Outlines as arrays of points, and the parts that figures are made of.

A figure lives in a box from -1 to 1: x to the right, y down.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from scenes.colours import Tone

Points = NDArray[np.float64]  # (n, 2)


@dataclass(frozen=True)
class Part:
    """One filled outline. A fine part is an inner detail that takes no ink line."""

    tone: Tone
    points: Points
    is_fine: bool = False


def detail(tone: Tone, points: Points) -> Part:
    return Part(tone, points, is_fine=True)


def polygon(*points: tuple[float, float]) -> Points:
    return np.array(points)


def ellipse(x: float, y: float, width: float, height: float | None = None) -> Points:
    """An ellipse by its centre and half axes; a circle without `height`."""
    return arc(x, y, width, width if height is None else height, 0, 360)[:-1]


def arc(x: float, y: float, width: float, height: float, start: float, end: float) -> Points:
    """A piece of an ellipse, in degrees, clockwise from three o'clock."""
    steps = max(4, round(abs(end - start) / 12))
    angles = np.radians(np.linspace(start, end, steps + 1))
    return np.stack([x + width * np.cos(angles), y + height * np.sin(angles)], axis=1)


def smooth(points: Sequence[tuple[float, float]], *, steps: int = 5) -> Points:
    """A closed Catmull-Rom curve through the points."""
    ring = np.array([points[-1], *points, *points[:2]])
    neighbours = np.stack([ring[:-3], ring[1:-2], ring[2:-1], ring[3:]], axis=1)
    curve: Points = _weights(steps) @ neighbours
    return curve.reshape(-1, 2)


@lru_cache
def _weights(steps: int) -> NDArray[np.float64]:
    """How much each of four knots counts at every step from the second to the third."""
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    powers = np.concatenate([t**0, t, t**2, t**3], axis=1)
    catmull_rom = np.array([[0, 2, 0, 0], [-1, 0, 1, 0], [2, -5, 4, -1], [-1, 3, -3, 1]]) / 2
    weights: NDArray[np.float64] = powers @ catmull_rom
    return weights


def star(rays: int, inner: float, *, turn: float = 0.0) -> Points:
    """A star with its tips on the unit circle, the first one up."""
    angles = np.radians(turn - 90) + np.arange(2 * rays) * math.pi / rays
    radii = np.where(np.arange(2 * rays) % 2 == 0, 1.0, inner)[:, None]
    outline: Points = radii * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return outline


def bar(start: tuple[float, float], end: tuple[float, float], width: float) -> Points:
    """A straight stroke as a four-cornered outline."""
    (x0, y0), (x1, y1) = start, end
    length = math.hypot(x1 - x0, y1 - y0)
    dx, dy = (y1 - y0) / length * width / 2, (x0 - x1) / length * width / 2
    return polygon((x0 + dx, y0 + dy), (x1 + dx, y1 + dy), (x1 - dx, y1 - dy), (x0 - dx, y0 - dy))


def turned(points: Points, degrees: float, *, x: float = 0.0, y: float = 0.0) -> Points:
    """The points rotated about the origin, then moved by x and y."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    moved: Points = points @ np.array([[cos, sin], [-sin, cos]]) + np.array((x, y))
    return moved
