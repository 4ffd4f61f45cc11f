"""Files to bring in: JPEGs as large as photographs are, each another image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image as Pixels

DETAIL = 8  # pixels of the finest detail: as many bytes a pixel as a photograph has
QUALITY = 90


def write(folder: Path, n: int, size: tuple[int, int]) -> list[Path]:
    """Write n JPEGs of a size, seeds 0 to n - 1; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    width, height = size
    paths = []
    for seed in range(n):
        random = np.random.default_rng(seed)
        coarse = random.integers(
            256, size=(max(height // DETAIL, 1), max(width // DETAIL, 1), 3), dtype=np.uint8
        )
        image = Pixels.fromarray(coarse).resize(size, Pixels.Resampling.BICUBIC)
        path = folder / f"{seed:06}.jpg"
        image.save(path, "JPEG", quality=QUALITY)
        paths.append(path)
    return paths
