from __future__ import annotations

import pytest

from scenes import Colour, Light, Mention, Statement, Thing, compose, demo, describe, draw
from scenes.gallery import PROMISED_SEEDS


@pytest.mark.slow
def test_no_two_demo_scenes_are_equal():
    scenes = list(demo(400))
    assert len({(scene.place, scene.light, scene.style, scene.subjects) for scene in scenes}) == 400
    assert len({draw(scene, (24, 18)).tobytes() for scene in scenes}) == 400


def test_demo_scenes_have_a_caption_and_tags():
    for scene in demo(20):
        assert describe(scene)
        assert len(scene.tags) >= 5


def test_the_demo_has_two_red_boats_at_night():
    promised = Statement((Mention(Thing.BOAT, Colour.RED, 2),), light=Light.NIGHT)
    assert all(promised.is_true_of(compose(seed)) for seed in PROMISED_SEEDS)
    assert {scene.seed for scene in demo(10)} >= set(PROMISED_SEEDS)
