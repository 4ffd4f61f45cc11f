from __future__ import annotations

import subprocess
import sys

import pytest

from scenes import Colour, Relation, Thing, compose
from scenes.composition import HABITS, Zone
from scenes.facts import Coloured, Related

SEEDS = range(300)


def test_the_same_seed_composes_the_same_scene():
    assert [compose(seed) for seed in SEEDS] == [compose(seed) for seed in SEEDS]


def test_every_thing_and_every_colour_turns_up():
    subjects = [subject for seed in SEEDS for subject in compose(seed).subjects]
    assert {subject.thing for subject in subjects} == set(Thing)
    assert {subject.colour for subject in subjects} == set(Colour)


def test_pairs_left_out_of_composition_never_turn_up():
    without = {(colour, thing) for thing in (Thing.BOAT, Thing.CAT) for colour in list(Colour)[1:]}
    colours = {
        subject.colour
        for seed in SEEDS
        for subject in compose(seed, without=without).subjects
        if subject.thing in (Thing.BOAT, Thing.CAT)
    }
    assert colours == {next(iter(Colour))}


@pytest.mark.parametrize("seed", range(0, 300, 10))
def test_everything_stays_in_its_zone(seed: int):
    scene = compose(seed)
    for subject in scene.subjects:
        for figure in subject.figures:
            assert 0 <= figure.x <= 1
            assert figure.y - figure.radius > -0.05
            is_in_the_sky = HABITS[subject.thing].zone in (Zone.SKY, Zone.HORIZON)
            assert is_in_the_sky or figure.y + figure.radius > scene.ground.horizon


def test_relations_come_in_opposite_pairs():
    for seed in SEEDS:
        facts = compose(seed).facts
        for fact in facts:
            if isinstance(fact, Related):
                assert Related(fact.other, fact.relation.opposite, fact.thing) in facts


def test_opposites_are_opposites_of_each_other():
    assert all(relation.opposite.opposite is relation for relation in Relation)


def test_tags_name_things_colours_and_surroundings():
    scene = compose(0)
    for fact in scene.facts:
        if isinstance(fact, Coloured):
            assert {fact.thing, fact.colour} <= set(scene.tags)
    assert {scene.place, scene.light, scene.style} <= set(scene.tags)


def test_scenes_need_neither_django_nor_torch():
    code = "import sys, scenes; print(sorted({'django', 'torch', 'embeddings'} & set(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True
    )
    assert result.stdout.strip() == "[]"
