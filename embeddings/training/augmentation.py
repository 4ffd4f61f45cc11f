"""Images a little otherwise each time, so that a small library is not learnt by heart."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

LIGHT = 0.1  # standard deviation of factors for light and contrast


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    smallest_area: float = 0.7  # of an image that is seen at once; 1: always all of it
    is_mirrored: bool = False  # now and then; never where texts say left and right

    def of(self, pictures: Tensor, size: tuple[int, int]) -> Tensor:
        """Cut, mirror and light pictures (n, 3, h, w) of bytes; return values from 0 to 1.

        Each gets its own cut, of the shape of the whole; `size` is the height and width of what
        comes back.
        """
        n = len(pictures)
        lengths = torch.empty(n).uniform_(sqrt(self.smallest_area), 1)
        # Where the middle of the cut lies: all of it inside, in the coordinates of affine_grid.
        middles = (2 * torch.rand(n, 2) - 1) * (1 - lengths)[:, None]
        signs = 1 - 2 * torch.randint(0, 2, (n,)) if self.is_mirrored else torch.ones(n)
        light, contrast = 1 + LIGHT * torch.randn(2, n, 1, 1, 1)
        transform = torch.zeros(n, 2, 3)
        transform[:, 0, 0], transform[:, 1, 1] = lengths * signs, lengths
        transform[:, :, 2] = middles
        device = pictures.device
        grid = torch.nn.functional.affine_grid(
            transform.to(device), [n, 3, *size], align_corners=False
        )
        values = torch.nn.functional.grid_sample(
            pictures.float() / 255, grid, padding_mode="border", align_corners=False
        )
        grey = values.mean(dim=(1, 2, 3), keepdim=True)
        lit: Tensor = (values - grey) * contrast.to(device) + grey * light.to(device)
        return lit.clamp(0, 1)
