"""How an encoder looks at an image: which part of it, at how many pixels, in which numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from PIL.Image import Image as Pixels
from torch import Tensor

from embeddings.errors import TrainingFailed

Square = NDArray[np.uint8]  # (side, side, 3)


@dataclass(frozen=True)
class Frame:
    """A square of `side` pixels: cut from the middle, or all of the image squashed."""

    side: int
    shorter_edge: int  # of the image when the square is cut from it; 0: squashed
    mean: tuple[float, float, float]
    spread: tuple[float, float, float]
    resampling: Image.Resampling

    @classmethod
    def of(cls, processor: Any) -> Frame:
        """Read it from an image processor. Raise TrainingFailed where it is no square."""
        size = _numbers(processor.size)
        shorter_edge = size.get("shortest_edge", 0)
        cut = _numbers(processor.crop_size) if getattr(processor, "do_center_crop", False) else {}
        seen = cut if shorter_edge else size
        side = seen.get("height", 0)
        if not side or side != seen.get("width") or bool(cut) != bool(shorter_edge):
            raise TrainingFailed(
                "Only encoders can be trained that look at a square from the middle of an image, "
                "or at all of it squashed to a square."
            )
        return cls(
            side=side,
            shorter_edge=shorter_edge,
            mean=tuple(processor.image_mean),
            spread=tuple(processor.image_std),
            resampling=Image.Resampling(processor.resample),
        )

    def square(self, picture: Pixels, side: int) -> Square:
        """What the encoder sees of an image, at `side` pixels."""
        if not self.shorter_edge:
            return np.asarray(picture.resize((side, side), self.resampling))
        edge = round(self.shorter_edge * side / self.side)
        width, height = (length * edge // min(picture.size) for length in picture.size)
        left, top = (width - side) // 2, (height - side) // 2
        resized = picture.resize((width, height), self.resampling)
        return np.asarray(resized.crop((left, top, left + side, top + side)))

    def normalised(self, values: Tensor) -> Tensor:
        """Pixels (n, 3, side, side) from 0 to 1 as the towers want them."""
        mean, spread = (
            torch.tensor(one, device=values.device).view(3, 1, 1)
            for one in (self.mean, self.spread)
        )
        return (values - mean) / spread


def _numbers(size: Any) -> dict[str, int]:
    return {name: int(edge) for name, edge in dict(size or {}).items() if edge}
