"""What stands on the ground."""

from __future__ import annotations

from random import Random

import numpy as np

from scenes.colours import Tone
from scenes.shapes import Part, Points, arc, bar, detail, ellipse, polygon, smooth, turned


def house(random: Random) -> list[Part]:
    ridge = random.uniform(-0.95, -0.75)
    eaves = random.uniform(-0.2, -0.1)
    door = random.choice((-0.38, 0.0, 0.34))
    panes = [x for x in (-0.42, 0.0, 0.42) if abs(x - door) > 0.3]
    chimney = random.choice((-0.5, 0.48))
    parts = [
        Part(
            Tone.DEEP,
            polygon(
                (chimney - 0.11, ridge + 0.05),
                (chimney + 0.11, ridge + 0.05),
                (chimney + 0.11, eaves),
                (chimney - 0.11, eaves),
            ),
        ),
        Part(Tone.BODY, polygon((-0.76, eaves), (0.76, eaves), (0.76, 1.0), (-0.76, 1.0))),
        Part(
            Tone.DARK,
            polygon(
                (-0.98, eaves + 0.04),
                (-0.5, ridge + 0.08),
                (0.0, ridge),
                (0.5, ridge + 0.08),
                (0.98, eaves + 0.04),
            )
            if random.random() < 0.35
            else polygon((-0.98, eaves + 0.04), (0.0, ridge - 0.04), (0.98, eaves + 0.04)),
        ),
        Part(Tone.CREAM, arch(door, 0.34, 0.17, 1.0)),
        detail(Tone.WOOD, arch(door, 0.4, 0.125, 1.0)),
    ]
    for x in panes:
        parts += [
            Part(
                Tone.CREAM,
                polygon((x - 0.19, 0.1), (x + 0.19, 0.1), (x + 0.19, 0.52), (x - 0.19, 0.52)),
            ),
            detail(
                Tone.GLASS,
                polygon((x - 0.14, 0.15), (x + 0.14, 0.15), (x + 0.14, 0.47), (x - 0.14, 0.47)),
            ),
            detail(Tone.CREAM, bar((x, 0.12), (x, 0.5), 0.045)),
            detail(Tone.CREAM, bar((x - 0.16, 0.31), (x + 0.16, 0.31), 0.045)),
        ]
    return parts


def arch(x: float, top: float, width: float, bottom: float) -> Points:
    return np.concatenate(
        [arc(x, top + width, width, width, 180, 360), [(x + width, bottom), (x - width, bottom)]]
    )


def tree(random: Random) -> list[Part]:
    trunk = polygon((-0.1, 0.1), (0.1, 0.1), (0.14, 1.0), (-0.14, 1.0))
    if random.random() < 0.4:
        return [Part(Tone.WOOD, trunk), *_fir(random)]
    lobes = [
        ellipse(-0.36 + random.uniform(-0.05, 0.05), 0.0, 0.42, 0.4),
        ellipse(0.36 + random.uniform(-0.05, 0.05), -0.02, 0.42, 0.4),
        ellipse(random.uniform(-0.1, 0.1), -0.48, 0.5, 0.5),
    ]
    return [
        Part(Tone.WOOD, trunk),
        detail(Tone.WOOD, bar((0.0, 0.5), (0.26, 0.2), 0.09)),
        *(Part(Tone.BODY, lobe) for lobe in lobes),
        detail(Tone.BODY, ellipse(0, -0.14, 0.5, 0.44)),
        detail(Tone.LIGHT, ellipse(-0.14, -0.58, 0.27, 0.22)),
        detail(Tone.LIGHT, ellipse(-0.44, -0.1, 0.17, 0.14)),
        detail(
            Tone.DARK, smooth([(-0.3, 0.24), (0.2, 0.16), (0.66, 0.0), (0.5, 0.28), (0.1, 0.34)])
        ),
    ]


def _fir(random: Random) -> list[Part]:
    parts = []
    spread = random.uniform(0.62, 0.74)
    for step, (top, bottom) in enumerate(((-0.3, 0.62), (-0.65, 0.2), (-1.0, -0.22))):
        width = spread * (1 - 0.22 * step)
        tier = smooth(
            [
                (0, top),
                (width * 0.4, (top + bottom) / 2),
                (width, bottom),
                (0, bottom + 0.1),
                (-width, bottom),
                (-width * 0.4, (top + bottom) / 2),
            ],
            steps=4,
        )
        parts.append(Part((Tone.DARK, Tone.BODY, Tone.LIGHT)[step], tier))
    return parts


def car(random: Random) -> list[Part]:
    roof = random.uniform(-0.62, -0.5)
    cabin = smooth(
        [(-0.62, 0.02), (-0.42, roof + 0.06), (-0.1, roof), (0.26, roof + 0.04), (0.6, 0.02)]
    )
    body = smooth(
        [
            (-0.98, 0.3),
            (-0.9, 0.02),
            (-0.5, -0.06),
            (0.4, -0.06),
            (0.86, 0.06),
            (0.99, 0.3),
            (0.94, 0.56),
            (0.4, 0.6),
            (-0.4, 0.6),
            (-0.94, 0.56),
        ]
    )
    window = polygon((-0.44, -0.06), (-0.32, roof + 0.14), (-0.06, roof + 0.1), (-0.06, -0.06))
    windscreen = polygon((0.04, -0.06), (0.04, roof + 0.1), (0.24, roof + 0.14), (0.44, -0.06))
    wheels = [
        Part(tone, ellipse(x, 0.56, radius), is_fine=tone is Tone.CREAM)
        for x in (-0.54, 0.54)
        for tone, radius in ((Tone.METAL, 0.26), (Tone.CREAM, 0.11))
    ]
    return [
        Part(Tone.BODY, cabin),
        Part(Tone.BODY, body),
        detail(Tone.BODY, cabin * 0.94 + (0, 0.02)),
        detail(Tone.GLASS, window),
        detail(Tone.GLASS, windscreen),
        detail(
            Tone.DARK, smooth([(-0.95, 0.4), (0, 0.36), (0.95, 0.4), (0.9, 0.56), (-0.9, 0.56)])
        ),
        detail(Tone.LIGHT, bar((-0.8, 0.08), (0.78, 0.1), 0.06)),
        detail(Tone.CREAM, ellipse(0.9, 0.2, 0.075)),
        *wheels,
    ]


def mountain(random: Random) -> list[Part]:
    peak, shoulder = random.uniform(-0.2, 0.2), random.choice((-1, 1))
    side = random.uniform(-0.45, -0.25)
    ridge = [(-1.0, 1.0), (-0.62, 0.3), (peak, -1.0), (0.62, 0.24), (1.0, 1.0)]
    if shoulder > 0:
        ridge[3:4] = [(0.36, side + 0.2), (0.5, side), (0.8, 0.4)]
    else:
        ridge[1:2] = [(-0.8, 0.4), (-0.5, side), (-0.36, side + 0.2)]
    cap = polygon(
        (peak, -1.0),
        (peak + 0.23, -0.53),
        (peak + 0.08, -0.62),
        (peak + 0.0, -0.42),
        (peak - 0.1, -0.6),
        (peak - 0.22, -0.5),
    )
    return [
        Part(Tone.BODY, polygon(*ridge)),
        detail(
            Tone.DARK,
            polygon(
                (peak, -1.0),
                (peak + 0.1, -0.3),
                (peak - 0.06, 0.1),
                (peak + 0.16, 1.0),
                (1.0, 1.0),
                *reversed(ridge[3:-1]),
            ),
        ),
        detail(Tone.CREAM, cap),
    ]


def flower(random: Random) -> list[Part]:
    petals = random.choice((5, 6, 7, 8))
    length = random.uniform(0.3, 0.36)
    turn = random.uniform(0, 60)
    petal = smooth([(0.06, 0.0), (length, -0.17), (0.62, 0.0), (length, 0.17)])
    head = [
        Part((Tone.BODY, Tone.LIGHT)[k % 2], turned(petal, turn + 360 / petals * k, y=-0.38))
        for k in range(petals)
    ]
    leaf = smooth([(0.02, 0.75), (0.22, 0.42), (0.5, 0.36), (0.34, 0.66)])
    return [
        Part(Tone.LEAF, bar((0.0, -0.3), (0.0, 1.0), 0.08)),
        Part(Tone.LEAF, leaf),
        Part(Tone.LEAF, leaf * (-1, 1) + (0, 0.08)),
        *head,
        Part(Tone.CREAM, ellipse(0, -0.38, 0.17)),
        detail(Tone.WOOD, ellipse(0, -0.38, 0.07)),
    ]


def ball(random: Random) -> list[Part]:
    turn = random.uniform(-35, 35)
    stripes = [
        detail(tone, turned(ellipse(0, 0, width, 0.97), turn))
        for tone, width in ((Tone.PALE, 0.68), (Tone.BODY, 0.36))
    ]
    return [
        Part(Tone.BODY, ellipse(0, 0, 0.98)),
        *stripes,
        detail(Tone.LIGHT, turned(ellipse(0, -0.84, 0.24, 0.1), turn)),
    ]


def mushroom(random: Random) -> list[Part]:
    rim = random.uniform(0.02, 0.12)
    cap = smooth(
        [
            (-0.95, rim),
            (-0.84, -0.4),
            (-0.4, -0.84),
            (0.0, -0.94),
            (0.4, -0.84),
            (0.84, -0.4),
            (0.95, rim),
            (0.5, rim + 0.14),
            (-0.5, rim + 0.14),
        ]
    )
    stem = smooth(
        [(-0.26, 0.05), (0.26, 0.05), (0.28, 0.6), (0.36, 0.98), (-0.36, 0.98), (-0.28, 0.6)]
    )
    dots = (
        (0.0, -0.56, 0.17),
        (-0.5, -0.26, 0.13),
        (0.5, -0.3, 0.14),
        (-0.1, -0.1, 0.1),
        (0.74, 0.0, 0.08),
    )
    return [
        Part(Tone.CREAM, stem),
        Part(Tone.BODY, cap),
        detail(
            Tone.DARK,
            smooth(
                [(-0.9, rim), (0, rim - 0.08), (0.9, rim), (0.5, rim + 0.13), (-0.5, rim + 0.13)]
            ),
        ),
        *(detail(Tone.PALE, ellipse(x, y, radius, radius * 0.85)) for x, y, radius in dots),
    ]
