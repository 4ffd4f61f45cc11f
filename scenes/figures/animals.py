"""Animals of the land and the air."""

from __future__ import annotations

from random import Random

from scenes.colours import Tone
from scenes.shapes import Part, bar, detail, ellipse, polygon, smooth, turned


def bird(random: Random) -> list[Part]:
    lift = random.uniform(0.75, 0.95)
    body = smooth(
        [
            (0.72, -0.12),
            (0.5, -0.3),
            (0.2, -0.16),
            (-0.3, 0.06),
            (-0.62, 0.12),
            (-0.4, 0.36),
            (0.1, 0.42),
            (0.5, 0.26),
        ]
    )
    far_wing = smooth([(0.25, -0.05), (0.3, -0.5), (0.12, -lift), (-0.1, -0.5), (-0.12, 0.0)])
    near_wing = smooth(
        [
            (0.3, 0.02),
            (0.02, -0.45),
            (-0.42, -lift + 0.06),
            (-0.44, -0.4),
            (-0.26, 0.02),
            (0.0, 0.18),
        ]
    )
    return [
        Part(Tone.DEEP, far_wing),
        Part(
            Tone.DARK, polygon((-0.45, 0.1), (-1.0, 0.02), (-0.88, 0.2), (-1.0, 0.38), (-0.45, 0.3))
        ),
        Part(Tone.WOOD, polygon((0.7, -0.16), (0.99, -0.04), (0.69, 0.04))),
        Part(Tone.BODY, body),
        detail(Tone.PALE, smooth([(0.56, 0.1), (0.1, 0.36), (-0.3, 0.3), (0.1, 0.2)])),
        Part(Tone.DARK, near_wing),
        detail(Tone.BODY, near_wing * 0.8 + (-0.0, -0.06)),
        detail(Tone.CREAM, ellipse(0.54, -0.1, 0.075)),
        detail(Tone.METAL, ellipse(0.56, -0.1, 0.045)),
    ]


def cat(random: Random) -> list[Part]:
    tail_tip = random.uniform(-0.35, 0.0)
    tail = smooth(
        [
            (0.3, 0.8),
            (0.7, 0.82),
            (0.82, 0.5),
            (0.7, tail_tip),
            (0.86, tail_tip - 0.1),
            (0.99, 0.5),
            (0.86, 0.95),
            (0.4, 0.99),
        ]
    )
    body = smooth(
        [
            (-0.34, -0.1),
            (0.2, -0.12),
            (0.46, 0.4),
            (0.5, 0.9),
            (0.2, 1.0),
            (-0.35, 1.0),
            (-0.52, 0.85),
            (-0.46, 0.3),
        ]
    )
    head = smooth(
        [
            (-0.56, -0.42),
            (-0.36, -0.68),
            (0.1, -0.68),
            (0.32, -0.42),
            (0.26, -0.12),
            (-0.12, 0.06),
            (-0.5, -0.12),
        ]
    )
    ears = [
        Part(Tone.BODY, polygon((-0.56, -0.4), (-0.54, -0.98), (-0.2, -0.62))),
        Part(Tone.BODY, polygon((0.32, -0.4), (0.3, -0.98), (-0.04, -0.62))),
        detail(Tone.PALE, polygon((-0.48, -0.5), (-0.48, -0.84), (-0.28, -0.62))),
        detail(Tone.PALE, polygon((0.24, -0.5), (0.24, -0.84), (0.04, -0.62))),
    ]
    whiskers = [
        detail(Tone.PALE, bar((x, -0.2), (x + side * 0.36, y), 0.025))
        for x, side in ((-0.24, -1), (0.0, 1))
        for y in (-0.26, -0.12)
    ]
    eyes = [
        detail(tone, ellipse(x, -0.36, width, 0.1))
        for x in (-0.32, 0.08)
        for tone, width in ((Tone.CREAM, 0.1), (Tone.METAL, 0.045))
    ]
    return [
        Part(Tone.DARK, tail),
        Part(Tone.BODY, body),
        detail(Tone.PALE, smooth([(-0.24, 0.1), (0.1, 0.12), (0.06, 0.5), (-0.2, 0.5)])),
        detail(Tone.DARK, bar((-0.08, 0.62), (-0.08, 0.99), 0.035)),
        *ears[:2],
        Part(Tone.BODY, head),
        *ears[2:],
        *eyes,
        detail(Tone.DEEP, polygon((-0.19, -0.23), (-0.05, -0.23), (-0.12, -0.14))),
        *whiskers,
    ]


def butterfly(random: Random) -> list[Part]:
    span = random.uniform(0.88, 0.98)
    upper = [(0.04, -0.1), (0.3, -0.72), (span - 0.08, -0.82), (span, -0.4), (0.6, 0.02)]
    lower = [(0.04, 0.05), (0.5, 0.06), (0.72, 0.4), (0.5, 0.8), (0.2, 0.55)]
    wings = []
    for side in (-1, 1):
        hind, fore = smooth(lower) * (side, 1), smooth(upper) * (side, 1)
        wings += [
            Part(Tone.DARK, hind),
            detail(Tone.BODY, (hind - (side * 0.42, 0.36)) * 0.72 + (side * 0.42, 0.36)),
            Part(Tone.BODY, fore),
            detail(Tone.PALE, ellipse(side * 0.68, -0.5, 0.13)),
            detail(Tone.DARK, ellipse(side * 0.42, -0.4, 0.09)),
        ]
    tilt = random.uniform(-18, 18)
    parts = [
        *wings,
        detail(Tone.METAL, bar((0, -0.4), (-0.2, -0.82), 0.04)),
        detail(Tone.METAL, bar((0, -0.4), (0.2, -0.82), 0.04)),
        Part(Tone.METAL, ellipse(0, 0.04, 0.085, 0.52)),
    ]
    return [Part(part.tone, turned(part.points, tilt), part.is_fine) for part in parts]
