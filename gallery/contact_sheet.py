"""A contact sheet: the hits of a search as one labelled picture."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from functools import cache
from math import ceil

from PIL import Image as Pictures
from PIL import ImageDraw, ImageFont, ImageOps
from PIL.Image import Image as Pixels

from gallery import texts
from gallery.models import Image
from gallery.query import Hit

CELL = 256  # pixels, as wide as the small thumbnail
MARGIN = 16
LINE = 18
LABEL = 3 * LINE
MOST_COLUMNS = 6
MOST_HITS = 240
INK, QUIET, PAPER, FRAME = (24, 24, 27), (113, 113, 122), (255, 255, 255), (228, 228, 231)


def draw(hits: Sequence[Hit], title: str) -> Pixels:
    """Return hits, at most MOST_HITS, in rows: rank and score, caption and file name below each."""
    hits = hits[:MOST_HITS]
    columns = min(MOST_COLUMNS, max(1, len(hits)))
    rows = -(-len(hits) // columns)
    step_x, step_y = CELL + MARGIN, CELL + LABEL + MARGIN
    sheet = Pictures.new(
        "RGB", (MARGIN + columns * step_x, 2 * MARGIN + LINE + rows * step_y), PAPER
    )
    pen = ImageDraw.Draw(sheet)
    _write(pen, (MARGIN, MARGIN), title, sheet.width - 2 * MARGIN, INK)
    for place, hit in enumerate(hits):
        row, column = divmod(place, columns)
        _cell(sheet, (MARGIN + column * step_x, 2 * MARGIN + LINE + row * step_y), hit)
    return sheet


def _cell(sheet: Pixels, corner: tuple[int, int], hit: Hit) -> None:
    left, top = corner
    pen = ImageDraw.Draw(sheet)
    pen.rectangle((left - 1, top - 1, left + CELL, top + CELL), outline=FRAME)
    if (thumbnail := _thumbnail(hit.image)) is not None:
        inside = ((CELL - thumbnail.width) // 2, (CELL - thumbnail.height) // 2)
        sheet.paste(thumbnail, (left + inside[0], top + inside[1]))
    lines = (
        (f"{hit.rank}    {hit.score:.3f}    {hit.band}", QUIET),
        (hit.image.caption, INK),
        (hit.image.original_name, QUIET),
    )
    for number, (line, ink) in enumerate(lines):
        _write(pen, (left, top + CELL + 4 + number * LINE), line, CELL, ink)


def _thumbnail(image: Image) -> Pixels | None:
    """Return the small thumbnail; None when its file is lost: the label still tells the image."""
    try:
        with image.thumbnail_small.open("rb") as file, Pictures.open(file, formats=["WEBP"]) as one:
            return ImageOps.contain(one.convert("RGB"), (CELL, CELL))
    except OSError:
        return None


def _write(
    pen: ImageDraw.ImageDraw, place: tuple[int, int], text: str, width: int, ink: tuple[int, ...]
) -> None:
    """Write one line, cut with an ellipsis where it would be too wide."""
    font = _font()
    line = texts.printable(text[:500])
    if pen.textlength(line, font) > width:
        fitting = bisect_right(
            range(len(line)), width, key=lambda n: ceil(pen.textlength(f"{line[:n]}...", font))
        )
        line = f"{line[: max(0, fitting - 1)]}..."
    pen.text(place, line, fill=ink, font=font)


@cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=13)
