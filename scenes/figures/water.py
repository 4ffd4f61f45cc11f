"""What swims."""

from __future__ import annotations

from random import Random

from scenes.colours import Tone
from scenes.shapes import Part, arc, bar, detail, ellipse, polygon, smooth


def boat(random: Random) -> list[Part]:
    mast = random.uniform(-0.12, 0.02)
    height = random.uniform(-0.98, -0.8)
    hull = smooth(
        [
            (-0.98, 0.3),
            (-0.5, 0.34),
            (0.4, 0.34),
            (1.0, 0.22),
            (0.86, 0.55),
            (0.6, 0.84),
            (0.2, 0.9),
            (-0.45, 0.9),
            (-0.78, 0.78),
        ]
    )
    stripe = polygon((-0.93, 0.46), (0.92, 0.42), (0.87, 0.54), (-0.88, 0.57))
    parts = [
        Part(Tone.WOOD, bar((mast, height), (mast, 0.36), 0.07)),
        Part(
            Tone.CREAM,
            smooth(
                [
                    (mast + 0.07, height + 0.05),
                    (mast + 0.5, -0.25),
                    (mast + 0.78, 0.2),
                    (mast + 0.4, 0.22),
                    (mast + 0.07, 0.2),
                ]
            ),
        ),
        Part(Tone.PALE, polygon((mast - 0.06, height + 0.16), (mast - 0.06, 0.2), (-0.74, 0.2))),
        Part(Tone.BODY, hull),
        detail(
            Tone.DARK,
            smooth(
                [(-0.86, 0.66), (0.0, 0.74), (0.74, 0.66), (0.55, 0.86), (0.1, 0.91), (-0.5, 0.9)]
            ),
        ),
        detail(Tone.PALE, stripe),
    ]
    if random.random() < 0.5:
        flag = polygon((mast, height), (mast - 0.3, height + 0.07), (mast, height + 0.16))
        parts.append(Part(Tone.BODY, flag))
    return parts


def fish(random: Random) -> list[Part]:
    belly = random.uniform(0.5, 0.62)
    body = smooth(
        [
            (0.98, 0.02),
            (0.6, -belly * 0.8),
            (0.1, -belly),
            (-0.4, -0.26),
            (-0.56, 0),
            (-0.4, 0.26),
            (0.1, belly),
            (0.6, belly * 0.8),
        ]
    )
    fork = random.uniform(0.4, 0.52)
    tail = smooth(
        [(-0.46, -0.06), (-0.98, -fork), (-0.84, 0), (-0.98, fork), (-0.46, 0.06)], steps=4
    )
    scales = [
        detail(Tone.LIGHT, arc(x, y, 0.13, 0.13, 100, 260))
        for x, y in ((0.22, -0.14), (0.22, 0.16), (0.0, 0.0), (-0.18, -0.14), (-0.18, 0.16))
    ]
    return [
        Part(Tone.DARK, tail),
        Part(Tone.DARK, smooth([(0.3, -belly * 0.85), (-0.05, -belly - 0.24), (-0.3, -0.36)])),
        Part(Tone.BODY, body),
        detail(Tone.PALE, smooth([(0.8, 0.28), (0.1, belly - 0.04), (-0.35, 0.24), (0.2, 0.3)])),
        *scales,
        detail(Tone.DARK, smooth([(0.3, 0.1), (0.02, 0.36), (0.1, 0.08)])),
        detail(Tone.CREAM, ellipse(0.62, -0.14, 0.13)),
        detail(Tone.METAL, ellipse(0.65, -0.14, 0.07)),
        *(
            detail(Tone.GLASS, ellipse(x, y, radius))
            for x, y, radius in ((0.86, -0.44, 0.07), (0.96, -0.62, 0.05), (0.84, -0.76, 0.04))
        ),
    ]
