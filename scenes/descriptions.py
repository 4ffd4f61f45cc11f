"""What there is to say about a given scene: everything, a little, or something nearly true."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Set
from dataclasses import replace
from random import Random
from typing import TypeVar

from scenes.composition import Pair
from scenes.scene import Scene, Subject, relations
from scenes.statements import Mention, Statement
from scenes.vocabulary import COUNT_WORDS, Colour, Light, Place, Size, Thing

T = TypeVar("T")


def describe(scene: Scene, seed: int = 0) -> str:
    """A full caption. Another seed says the same in other words."""
    random = Random(f"{scene.seed}/{seed}")
    return full_statement(scene, random).say(random)


def full_statement(scene: Scene, random: Random) -> Statement:
    """All subjects fully and the surroundings; now and then a relation and the style."""
    subjects = random.sample(scene.subjects, len(scene.subjects))
    relation = None
    if len(subjects) > 1 and random.random() < 0.7:
        relation = random.choice([*relations(*subjects[:2]), None])
    return Statement(
        mentions=tuple(_mention_fully(subject) for subject in subjects),
        relation=relation,
        place=scene.place,
        light=scene.light,
        style=scene.style if random.random() < 0.4 else None,
    )


def phrases(scene: Scene) -> tuple[Statement, ...]:
    """Shorter statements, all true of the scene."""
    return (
        *(phrase for subject in scene.subjects for phrase in _about_one(subject, scene)),
        *(
            phrase
            for pair in itertools.permutations(scene.subjects, 2)
            for phrase in _about_two(*pair)
        ),
        Statement(place=scene.place),
        Statement(light=scene.light),
        Statement(place=scene.place, light=scene.light),
        Statement(style=scene.style),
    )


def _mention_fully(subject: Subject) -> Mention:
    size = None if subject.size is Size.MEDIUM else subject.size
    return Mention(subject.thing, subject.colour, len(subject.figures), size)


def _about_one(subject: Subject, scene: Scene) -> Iterator[Statement]:
    fully = _mention_fully(subject)
    thing = Mention(subject.thing)
    coloured = replace(thing, colour=subject.colour)
    counted = replace(coloured, count=fully.count)
    yield Statement((thing,))
    yield Statement((coloured,))
    yield Statement((replace(thing, count=fully.count),))
    yield Statement((counted,))
    if fully.size is not None:
        yield Statement((replace(thing, size=fully.size),))
        yield Statement((replace(coloured, size=fully.size),))
    yield Statement((coloured,), place=scene.place)
    yield Statement((coloured,), light=scene.light)
    yield Statement((counted,), light=scene.light)
    yield Statement((thing,), place=scene.place, light=scene.light)
    yield Statement((coloured,), style=scene.style)
    yield Statement(colour=subject.colour)


def _about_two(first: Subject, second: Subject) -> Iterator[Statement]:
    things = (Mention(first.thing), Mention(second.thing))
    coloured = (Mention(first.thing, first.colour), Mention(second.thing, second.colour))
    yield Statement(things)
    yield Statement(coloured)
    for relation in relations(first, second):
        yield Statement(things, relation)
        yield Statement(coloured, relation)


def near_misses(
    statement: Statement, scene: Scene, random: Random, *, without: Set[Pair] = frozenset()
) -> list[Statement]:
    """The statement with one thing changed, in every way that makes it false of the scene.

    None of them speaks of a pair in `without`.
    """
    changed = [
        *_with_swapped_colours(statement),
        *(
            replace(statement, mentions=_replaced(statement.mentions, place, mention))
            for place, original in enumerate(statement.mentions)
            for mention in _altered(original, random)
        ),
        *_with_other_surroundings(statement, random),
    ]
    return [
        near
        for near in changed
        if not near.is_true_of(scene)
        and without.isdisjoint((mention.colour, mention.thing) for mention in near.mentions)
    ]


def _with_swapped_colours(statement: Statement) -> Iterator[Statement]:
    mentions = statement.mentions
    for i, j in itertools.combinations(range(len(mentions)), 2):
        first, second = mentions[i], mentions[j]
        swapped = _replaced(mentions, i, replace(first, colour=second.colour))
        yield replace(
            statement, mentions=_replaced(swapped, j, replace(second, colour=first.colour))
        )


def _altered(mention: Mention, random: Random) -> Iterator[Mention]:
    yield replace(mention, thing=_other(random, list(Thing), mention.thing))
    if mention.colour is not None:
        yield replace(mention, colour=_other(random, list(Colour), mention.colour))
    if mention.count is not None:
        yield replace(mention, count=_other(random, list(COUNT_WORDS), mention.count))
    if mention.size is not None:
        yield replace(mention, size=Size.BIG if mention.size is Size.SMALL else Size.SMALL)


def _with_other_surroundings(statement: Statement, random: Random) -> Iterator[Statement]:
    if statement.relation is not None:
        yield replace(statement, relation=statement.relation.opposite)
    if statement.place is not None:
        yield replace(statement, place=_other(random, list(Place), statement.place))
    if statement.light is not None:
        yield replace(statement, light=_other(random, list(Light), statement.light))


def _replaced(mentions: tuple[Mention, ...], k: int, mention: Mention) -> tuple[Mention, ...]:
    return (*mentions[:k], mention, *mentions[k + 1 :])


def _other(random: Random, options: list[T], than: T) -> T:
    return random.choice([option for option in options if option != than])
