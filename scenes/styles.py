"""How each drawing style treats colour, edges and paper."""

from __future__ import annotations

from dataclasses import dataclass

from scenes.colours import Shade
from scenes.vocabulary import Style

PAPER = Shade(0.98, 0.01, 90.0)


@dataclass(frozen=True, kw_only=True)
class Finish:
    """The traits of a style; strengths from 0 to about 1, 0 is none."""

    paper: Shade = PAPER
    wash: float = 0.0  # how much paper shines through the backdrop
    line: float = 0.0  # width of ink lines, a fraction of the shorter side
    shadow: float = 0.0  # cast by figures and hills
    shading: float = 0.0  # from a lit to a dark side
    edges: float = 0.0  # paint that dried darker along an outline
    blotches: float = 0.0
    speckle: float = 0.0  # shading by dots instead of tones
    strokes: float = 0.0
    grain: float = 0.0


FINISHES: dict[Style, Finish] = {
    Style.FLAT: Finish(shadow=0.12, shading=0.5),
    Style.INK: Finish(
        paper=Shade(0.965, 0.02, 88.0), wash=0.42, line=0.008, shading=0.15, grain=0.25
    ),
    Style.WATERCOLOUR: Finish(
        paper=Shade(0.985, 0.008, 90.0), wash=0.36, edges=0.9, blotches=0.8, shading=0.2, grain=0.5
    ),
    Style.PAPER: Finish(wash=0.08, shadow=0.55, shading=0.1, grain=0.3),
    Style.PRINT: Finish(
        paper=Shade(0.95, 0.03, 85.0), wash=0.2, speckle=0.8, shading=0.1, grain=0.55
    ),
    Style.PASTEL: Finish(
        paper=Shade(0.96, 0.02, 80.0), wash=0.14, strokes=0.8, shading=0.3, grain=0.35
    ),
}
