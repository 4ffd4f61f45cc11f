"""What hangs or flies in the sky."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import numpy as np

from scenes import shapes
from scenes.colours import Tone
from scenes.shapes import Part, arc, bar, detail, ellipse, polygon, smooth


def sun(random: Random) -> list[Part]:
    rays = random.choice((10, 12, 14, 16))
    crown = shapes.star(rays, random.uniform(0.68, 0.76), turn=random.uniform(0, 20))
    return [
        Part(Tone.LIGHT, crown),
        Part(Tone.BODY, ellipse(0, 0, 0.6)),
        detail(Tone.LIGHT, ellipse(-0.14, -0.16, 0.3)),
    ]


def moon(random: Random) -> list[Part]:
    bite = random.uniform(0.5, 0.62)
    outer = arc(0, 0, 0.95, 0.95, 60, 300)
    inner = arc(bite, 0, 0.95 - bite / 4, 0.822, 250, 110)
    crescent = np.concatenate([outer, inner])
    crater = random.uniform(-0.3, 0.3)
    parts = [
        Part(Tone.BODY, crescent),
        detail(Tone.DARK, ellipse(-0.66, crater, 0.1)),
        detail(Tone.DARK, ellipse(-0.5, crater + 0.36, 0.07)),
        detail(Tone.DARK, ellipse(-0.56, crater - 0.34, 0.06)),
    ]
    return parts


def star(random: Random) -> list[Part]:
    turn = random.uniform(-12, 12)
    outline = shapes.star(5, random.uniform(0.46, 0.54), turn=turn)
    facets = [
        detail(Tone.LIGHT, np.array([(0.0, 0.0), outline[k], outline[k + 1]]))
        for k in range(0, 10, 2)
    ]
    return [Part(Tone.BODY, outline), *facets]


def cloud(random: Random) -> list[Part]:
    left, right = random.uniform(0.3, 0.4), random.uniform(0.26, 0.38)
    middle = random.uniform(-0.25, 0.1)
    lobes = [
        ellipse(-0.62, 0.16, left, left * 0.85),
        ellipse(0.64, 0.18, right, right * 0.9),
        ellipse(middle, -0.12, 0.46, 0.44),
        ellipse(0.36, 0.02, 0.36, 0.36),
        ellipse(-0.3, 0.04, 0.34, 0.34),
    ]
    base = smooth([(-0.9, 0.22), (-0.5, 0.46), (0.5, 0.47), (0.92, 0.24), (0.4, 0.0), (-0.4, 0.0)])
    shine = ellipse(middle - 0.06, -0.22, 0.26, 0.2)
    return [
        *(Part(Tone.BODY, lobe) for lobe in lobes),
        Part(Tone.BODY, base),
        *(detail(Tone.BODY, lobe * 0.96) for lobe in lobes),
        detail(Tone.LIGHT, shine),
        detail(Tone.DARK, smooth([(-0.7, 0.3), (0, 0.38), (0.7, 0.3), (0.4, 0.44), (-0.4, 0.44)])),
    ]


def balloon(random: Random) -> list[Part]:
    waist = random.uniform(0.6, 0.68)
    envelope = smooth(
        [
            (0, -1),
            (0.52, -0.8),
            (waist, -0.35),
            (0.42, 0.15),
            (0.16, 0.5),
            (-0.16, 0.5),
            (-0.42, 0.15),
            (-waist, -0.35),
            (-0.52, -0.8),
        ]
    )
    stripe_tone = random.choice((Tone.PALE, Tone.DARK, Tone.LIGHT))
    stripe = smooth([(0, -0.99), (0.24, -0.4), (0.08, 0.49), (-0.08, 0.49), (-0.24, -0.4)])
    side = envelope * (0.75, 1.0)
    return [
        detail(Tone.METAL, bar((-0.14, 0.5), (-0.11, 0.78), 0.03)),
        detail(Tone.METAL, bar((0.14, 0.5), (0.11, 0.78), 0.03)),
        Part(Tone.BODY, envelope),
        detail(stripe_tone, side),
        detail(Tone.BODY, envelope * (0.52, 0.995)),
        detail(stripe_tone, stripe),
        Part(Tone.WOOD, polygon((-0.17, 0.74), (0.17, 0.74), (0.13, 1.0), (-0.13, 1.0))),
    ]


def kite(random: Random) -> list[Part]:
    lean = random.uniform(14, 30)
    top, right, bottom, left = (0.0, -0.95), (0.52, -0.3), (0.0, 0.55), (-0.52, -0.3)
    middle = (0.0, -0.3)
    tail = [(0.0, 0.5), (0.14, 0.66), (-0.02, 0.8), (0.1, 0.98)]
    string = [detail(Tone.METAL, bar(a, b, 0.035)) for a, b in pairwise(tail)]
    bows = [
        detail(
            Tone.DARK,
            polygon(
                (x - 0.13, y - 0.07),
                (x + 0.13, y + 0.07),
                (x + 0.13, y - 0.07),
                (x - 0.13, y + 0.07),
            ),
        )
        for x, y in tail[1:]
    ]
    parts = [
        *string,
        *bows,
        Part(Tone.BODY, polygon(top, right, bottom, left)),
        detail(Tone.LIGHT, polygon(top, middle, left)),
        detail(Tone.DARK, polygon(right, middle, bottom)),
    ]
    return [Part(part.tone, shapes.turned(part.points, lean), part.is_fine) for part in parts]
