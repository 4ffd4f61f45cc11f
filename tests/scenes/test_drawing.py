from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from scenes import Style, compose, draw


def seed_in(style: Style) -> int:
    return next(seed for seed in range(1_000) if compose(seed).style is style)


@pytest.mark.parametrize("style", Style)
def test_the_same_seed_gives_the_same_pixels(style: Style):
    seed = seed_in(style)
    assert draw(compose(seed), (96, 80)).tobytes() == draw(compose(seed), (96, 80)).tobytes()


@pytest.mark.parametrize("style", Style)
def test_a_scene_looks_alike_small_and_large(style: Style):
    scene = compose(seed_in(style))
    small = draw(scene, (96, 72))
    large = draw(scene, (480, 360)).resize(small.size, Image.Resampling.BOX)
    difference = np.abs(np.asarray(small, dtype=float) - np.asarray(large, dtype=float))
    assert difference.mean() < 6


@pytest.mark.parametrize("size", [(64, 64), (200, 60), (60, 200), (97, 131)])
def test_it_draws_at_any_size_and_shape(size: tuple[int, int]):
    for seed in range(12):
        picture = draw(compose(seed), size)
        assert picture.size == size
        assert picture.mode == "RGB"
