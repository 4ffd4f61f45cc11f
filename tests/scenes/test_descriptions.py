from __future__ import annotations

from random import Random

import pytest

from scenes import (
    Colour,
    Light,
    Mention,
    Relation,
    Size,
    Statement,
    Thing,
    compose,
    describe,
    full_statement,
    near_misses,
    phrases,
)

SEEDS = range(200)


@pytest.mark.parametrize("seed", range(0, 200, 5))
def test_all_that_is_said_of_a_scene_is_true_of_it(seed: int):
    scene = compose(seed)
    assert full_statement(scene, Random(seed)).is_true_of(scene)
    assert all(phrase.is_true_of(scene) for phrase in phrases(scene))


def test_near_misses_are_false():
    for seed in SEEDS:
        scene, random = compose(seed), Random(seed)
        for statement in (full_statement(scene, random), *phrases(scene)):
            nearly = near_misses(statement, scene, random)
            assert not any(near.is_true_of(scene) for near in nearly)


def test_every_full_caption_has_a_near_miss():
    for seed in SEEDS:
        scene, random = compose(seed), Random(seed)
        assert near_misses(full_statement(scene, random), scene, random)


def test_near_misses_do_not_speak_of_pairs_left_out():
    without = {(colour, thing) for colour in Colour for thing in Thing if thing is not Thing.CAT}
    for seed in SEEDS:
        scene, random = compose(seed), Random(seed)
        nearly = near_misses(full_statement(scene, random), scene, random, without=without)
        mentions = [mention for near in nearly for mention in near.mentions]
        assert not without & {(mention.colour, mention.thing) for mention in mentions}


def test_a_colour_belongs_to_its_thing():
    scene = compose(2)  # two white kites, a small red mushroom, the desert at night
    assert Statement((Mention(Thing.KITE, Colour.WHITE, 2),), light=Light.NIGHT).is_true_of(scene)
    assert Statement((Mention(Thing.MUSHROOM, Colour.RED, size=Size.SMALL),)).is_true_of(scene)
    assert Statement(colour=Colour.RED).is_true_of(scene)
    assert not Statement((Mention(Thing.KITE, Colour.RED),)).is_true_of(scene)
    assert not Statement((Mention(Thing.KITE, count=1),)).is_true_of(scene)


def test_relations_have_a_direction():
    scene = compose(2)
    kite, mushroom = Mention(Thing.KITE), Mention(Thing.MUSHROOM)
    assert Statement((kite, mushroom), Relation.ABOVE).is_true_of(scene)
    assert Statement((mushroom, kite), Relation.BELOW).is_true_of(scene)
    assert not Statement((mushroom, kite), Relation.ABOVE).is_true_of(scene)


def test_a_caption_names_every_thing_and_can_be_worded_in_many_ways():
    scene = compose(2)
    captions = {describe(scene, seed) for seed in range(30)}
    assert len(captions) > 20
    assert all("kites" in caption for caption in captions)
    assert describe(scene, 1) == describe(scene, 1)


def test_words_agree_in_number_and_article():
    random = Random(0)
    orange = Statement((Mention(Thing.CAT, Colour.ORANGE),))
    said = {orange.say(random) for _ in range(200)}
    assert "an orange cat" in said
    assert not any(text.startswith("a orange") for text in said)
    three = Statement((Mention(Thing.BUTTERFLY, count=3),))
    assert {three.say(random) for _ in range(50)} == {"three butterflies", "3 butterflies"}
