"""Colours in a filter: which are near, as the eye sees it.

Postgres keeps three columns made from `Image.colours` (migration 0005): `colour_lab`, four numbers
a colour (CIELAB lightness, a, b, and its share); `colour_cells`, the cells of a coarse grid over
CIELAB that these lie in; `colour_names`, the names of what fills a tenth of the image. The model
does not have them, so that no image carries them along.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

from django.db.models import Q

from gallery.colours import MAX_COLOURS
from gallery.query.operators import Operator
from gallery.query.sql import holds
from gallery.query.values import Colour

if TYPE_CHECKING:
    from gallery.query.lookups import Viewer

NAMES = (
    *("black", "white", "grey", "red", "orange", "yellow"),
    *("green", "blue", "purple", "pink", "brown"),
)

_CELL = 16  # edge of a cell of the grid, and with it _key as migration 0005 has them
_ROUNDING = 0.01  # Postgres keeps four bytes a number, we eight

Lab = tuple[float, float, float]


def coloured(operator: Operator, value: str | Colour, viewer: Viewer) -> Q:
    if isinstance(value, str):
        return holds("{image}.colour_names @> ARRAY[%s]", value)
    lab = lab_of(value.hex)
    # The index finds the cells in reach, the distance decides.
    cells = "{" + ",".join(map(str, _cells_near(lab, value.tolerance))) + "}"
    in_reach = holds("{image}.colour_cells && %s::smallint[]", cells)
    return in_reach & holds(_NEAR, *_near_parameters(lab, value))


def lab_of(hex_: str) -> Lab:
    """Return the CIELAB of an sRGB colour such as "#336699", under D65."""
    red, green, blue = (_linear(int(hex_[at : at + 2], 16) / 255) for at in (1, 3, 5))
    x = _bent((0.4124564 * red + 0.3575761 * green + 0.1804375 * blue) / 0.95047)
    y = _bent(0.2126729 * red + 0.7151522 * green + 0.0721750 * blue)
    z = _bent((0.0193339 * red + 0.1191920 * green + 0.9503041 * blue) / 1.08883)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def _linear(channel: float) -> float:
    if channel <= 0.04045:
        return channel / 12.92
    return float(((channel + 0.055) / 1.055) ** 2.4)


def _bent(part: float) -> float:
    return math.cbrt(part) if part > 216 / 24389 else (24389 / 27 * part + 16) / 116


def _cells_near(lab: Lab, tolerance: float) -> list[int]:
    """Return the keys of all cells that the ball around a colour touches."""
    reach = tolerance + _ROUNDING
    place = (lab[0], lab[1] + 128, lab[2] + 128)
    ranges = [
        range(
            max(0, math.floor((at - reach) / _CELL)), min(15, math.floor((at + reach) / _CELL)) + 1
        )
        for at in place
    ]
    return [
        _key(cell)
        for cell in itertools.product(*ranges)
        if math.dist(place, [_nearest(at, i) for at, i in zip(place, cell, strict=True)]) <= reach
    ]


def _nearest(at: float, i: int) -> float:
    return min(max(at, i * _CELL), (i + 1) * _CELL)


def _key(cell: tuple[int, ...]) -> int:
    lightness, a, b = cell
    return (lightness * 16 + a) * 16 + b


# Written out for every colour: a subquery over the array takes ten times as long. What an image
# does not have is NULL.
_NEAR = "coalesce({}, false)".format(
    " OR ".join(
        f"({{image}}.colour_lab[{i + 4}] >= %s AND ({{image}}.colour_lab[{i + 1}] - %s) ^ 2"
        f" + ({{image}}.colour_lab[{i + 2}] - %s) ^ 2"
        f" + ({{image}}.colour_lab[{i + 3}] - %s) ^ 2 <= %s)"
        for i in range(0, 4 * MAX_COLOURS, 4)
    )
)


def _near_parameters(lab: Lab, colour: Colour) -> list[float]:
    # The share is stored in four bytes too: 0.1 there is a little more or less than 0.1.
    return [colour.share - 1e-6, *lab, colour.tolerance**2] * MAX_COLOURS
