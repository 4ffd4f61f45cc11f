"""Training pictures, drawn once. Imports no torch: the processes that draw need none."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from scenes import Scene, draw

Pictures = NDArray[np.uint8]  # (n, side, side, 3)

# Width and height of a frame as shares of the encoder's side: an encoder squashes whatever it is
# given into a square, so it must have seen squashed scenes.
SHAPES = ((1.0, 1.0), (1.34, 1.0), (1.34, 1.0), (1.0, 1.34), (1.6, 1.0), (2.0, 1.5))


def draw_all(scenes: Sequence[Scene], side: int, *, processes: int) -> Pictures:
    """Every scene in a frame of one of several shapes, squashed to a square."""
    drawn = np.empty((len(scenes), side, side, 3), dtype=np.uint8)
    # Spawned and not forked: torch may already have threads in this process.
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        pictures: Iterable[Pictures] = pool.imap(partial(_squashed, side), scenes, chunksize=64)
        for k, picture in enumerate(tqdm(pictures, "drawing", total=len(scenes), unit="scene")):
            drawn[k] = picture
    return drawn


def _squashed(side: int, scene: Scene) -> Pictures:
    width, height = SHAPES[scene.seed % len(SHAPES)]
    picture = draw(scene, (round(width * side), round(height * side)))
    return np.asarray(picture.resize((side, side), Image.Resampling.BICUBIC))
