"""Something that is learnt in seconds: plain images, and what their colour is called."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from random import Random

from PIL import Image
from PIL.Image import Image as Pixels

from embeddings.training.examples import Example
from scenes import Colour
from scenes.colours import SHADES


def examples(count: int, *, seed: int = 0) -> Iterator[Example]:
    colours = list(Colour)
    for number in range(count):
        colour = colours[number % len(colours)]
        shade = SHADES[colour].pick(Random(f"{seed}/{number}"))
        captions = (f"a {colour} house", f"something {colour}")
        yield Example(f"{seed}/{number}", captions, partial(_plain, shade.rgb))


def _plain(rgb: tuple[int, int, int], edge: int) -> Pixels:
    return Image.new("RGB", (edge + 8, edge), rgb)
