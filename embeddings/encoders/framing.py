"""How an image becomes the rectangles that an encoder looks at.

Pillow and numpy alone, so that a process which decodes can do it and send no pixel more than are
looked at.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image as Pixels
from PIL.Image import Resampling
from PIL.Image import new as new_image

from embeddings.vectors import Vectors, normalise

Frames = NDArray[np.uint8]  # (m, height, width, 3): what is looked at of one image
Box = tuple[float, float, float, float]  # left, top, right, bottom, in pixels

MOST_CROPS = 5
_NEARLY_SQUARE = 1.15  # longer by shorter side: one crop shows nearly all of it


class Manner(StrEnum):
    """What becomes of an image that is not of the encoder's shape."""

    TRAINED = "trained"  # as the encoder was trained: its ends are cut off, or it is squashed
    LETTERBOX = "letterbox"  # all of it is shown, between bars of the mean colour
    CROPS = "crops"  # several crops along its longer side, and the mean of their vectors


@dataclass(frozen=True, kw_only=True)
class Framing:
    """Sizes in pixels, as an encoder's image processor has them."""

    width: int
    height: int
    shorter: int = 0  # the shorter side is scaled to it before the ends are cut off; 0: squashed
    resample: int = Resampling.BICUBIC
    bars: tuple[int, int, int] = (0, 0, 0)
    manner: Manner = Manner.TRAINED

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> Self:
        """Return what `to_json` was called on."""
        return cls(**said | {"bars": tuple(said["bars"]), "manner": Manner(said["manner"])})

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def in_manner(self, manner: Manner) -> Self:
        """Return the same with another way of looking at what is far from square."""
        return replace(self, manner=manner)

    @property
    def edge(self) -> int:
        """Pixels of the shorter side that are looked at: a decoder need not give many more."""
        return max(self.shorter, self.width, self.height)

    def frames(self, image: Pixels) -> Frames:
        """Return what is looked at of an RGB image."""
        if self.manner == Manner.LETTERBOX:
            parts = [self._between_bars(image)]
        elif self.manner == Manner.CROPS:
            parts = [self._scaled(image, box) for box in self._boxes(*image.size)]
        elif self.shorter:
            parts = [self._cropped(image)]
        else:
            parts = [self._scaled(image, (0, 0, *image.size))]
        return np.stack([np.asarray(part) for part in parts])

    def _scaled(self, image: Pixels, box: Box) -> Pixels:
        return image.resize((self.width, self.height), self.resample, box=box)

    def _cropped(self, image: Pixels) -> Pixels:
        """Scale and cut in one step: no pixel is made that is cut off."""
        width, height = image.size
        if width <= height:
            scaled = self.shorter, int(self.shorter * height / width)
        else:
            scaled = int(self.shorter * width / height), self.shorter
        left, top = (scaled[0] - self.width) // 2, (scaled[1] - self.height) // 2
        across, down = width / scaled[0], height / scaled[1]
        right, bottom = (left + self.width) * across, (top + self.height) * down
        box = left * across, top * down, min(right, width), min(bottom, height)
        return self._scaled(image, box)

    def _between_bars(self, image: Pixels) -> Pixels:
        scale = min(self.width / image.width, self.height / image.height)
        size = max(round(image.width * scale), 1), max(round(image.height * scale), 1)
        frame = new_image("RGB", (self.width, self.height), self.bars)
        place = (self.width - size[0]) // 2, (self.height - size[1]) // 2
        frame.paste(image.resize(size, self.resample), place)
        return frame

    def _boxes(self, width: int, height: int) -> list[Box]:
        """Return the crops of the encoder's shape, from one end of the longer side to the other."""
        scale = min(width / self.width, height / self.height)
        across, down = self.width * scale, self.height * scale
        longer = max(width / across, height / down)
        n = 1 if longer < _NEARLY_SQUARE else min(math.ceil(longer), MOST_CROPS)
        shares = [0.5] if n == 1 else [k / (n - 1) for k in range(n)]
        corners = [(share * (width - across), share * (height - down)) for share in shares]
        return [(left, top, left + across, top + down) for left, top in corners]


def means(vectors: Vectors, counts: Sequence[int]) -> Vectors:
    """Return one vector an image of those of its frames, (images, d): the mean's direction."""
    if len(vectors) == len(counts):
        return vectors
    starts = np.cumsum([0, *counts[:-1]])
    return normalise(np.add.reduceat(vectors, starts, axis=0))
