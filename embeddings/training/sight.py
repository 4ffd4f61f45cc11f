"""How an encoder looks at images while it is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL.Image import Image as Pixels
from torch import Tensor

from embeddings.encoders.framing import Frames, Framing
from embeddings.encoders.parts import Parts
from embeddings.training.augmentation import Augmentation

# Frames are kept a little larger than they are looked at, so that there is something to cut.
KEPT, SEEN = 8, 7


@dataclass(frozen=True)
class Sight:
    framing: Framing
    scale: Tensor  # (3, 1, 1), as in Parts
    shift: Tensor

    @classmethod
    def of(cls, parts: Parts, device: str) -> Sight:
        scale, shift = (
            torch.from_numpy(one).view(3, 1, 1).to(device) for one in (parts.scale, parts.shift)
        )
        return cls(parts.framing, scale, shift)

    def as_they_are(self, frames: Frames) -> Tensor:
        """Return frames (n, height, width, 3) as a tower takes them."""
        return self._scaled(self._pictures(frames).float())

    def augmented(self, augmentation: Augmentation, frames: Frames) -> Tensor:
        """Return larger frames as a tower takes them, each a little otherwise."""
        size = (self.framing.height, self.framing.width)
        return self._scaled(augmentation.of(self._pictures(frames), size) * 255)

    def _pictures(self, frames: Frames) -> Tensor:
        return torch.from_numpy(frames).to(self.scale.device).permute(0, 3, 1, 2)

    def _scaled(self, values: Tensor) -> Tensor:
        return values * self.scale - self.shift


def larger(framing: Framing) -> Framing:
    """The same part of an image, at more pixels."""
    width, height, shorter = (
        length * KEPT // SEEN for length in (framing.width, framing.height, framing.shorter)
    )
    return replace(framing, width=width, height=height, shorter=shorter)


def frames_of(framing: Framing, pictures: Sequence[Pixels]) -> Frames:
    """Return a frame of each image."""
    return np.concatenate([framing.frames(picture) for picture in pictures])
