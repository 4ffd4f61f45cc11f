"""Noise for paper, paint and crayon: arrays of height x width, about -1 to 1, mean 0."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Texture = NDArray[np.float32]

# The fine textures repeat after this share of the frame's shorter side.
FINE_CELLS = 320


def _noise(width: int, height: int, seed: int) -> Image.Image:
    values = np.random.default_rng(seed).normal(0, 0.5, (height, width)).astype(np.float32)
    return Image.fromarray(np.clip(values, -1, 1))


def _stretched(noise: Image.Image, size: tuple[int, int]) -> Texture:
    return np.asarray(noise.resize(size, Image.Resampling.BICUBIC), dtype=np.float32)


@lru_cache(maxsize=16)
def grain(size: tuple[int, int]) -> Texture:
    """The tooth of paper: as fine as one pixel at thumbnail size, a few pixels at full size."""
    cells = _cells(size, FINE_CELLS)
    return _stretched(_noise(*cells, seed=1), size)


@lru_cache(maxsize=16)
def blotches(size: tuple[int, int]) -> Texture:
    """Pools of water colour: soft spots of several widths."""
    layers = [_stretched(_noise(*_cells(size, cells), seed=cells), size) for cells in (9, 21, 50)]
    return np.asarray(layers[0] * 0.6 + layers[1] * 0.5 + layers[2] * 0.4, dtype=np.float32)


@lru_cache(maxsize=16)
def strokes(size: tuple[int, int]) -> Texture:
    """Slanted strokes of a crayon."""
    width, height = _cells(size, FINE_CELLS)
    long = _noise(max(width // 7, 1), height, seed=3).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    slanted = long.transform(
        (width, height), Image.Transform.AFFINE, (0.85, -0.5, width * 0.2, 0.4, 0.85, -height * 0.1)
    )
    return _stretched(slanted, size)


def _cells(size: tuple[int, int], cells: int) -> tuple[int, int]:
    """Columns and rows of noise, with `cells` of them along the shorter side."""
    width, height = size
    per_pixel = cells / min(size)
    return max(round(width * per_pixel), 2), max(round(height * per_pixel), 2)
