"""What can be said of a scene: as facts, and in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import TypeVar

from scenes import vocabulary as words
from scenes.facts import Coloured, Contains, Counted, Fact, Related, Shows, Sized
from scenes.scene import Scene
from scenes.vocabulary import Colour, Light, Place, Relation, Size, Style, Thing

T = TypeVar("T")


@dataclass(frozen=True)
class Mention:
    """Some figures of one thing, as much of them as is said."""

    thing: Thing
    colour: Colour | None = None
    count: int | None = None  # None: at least one
    size: Size | None = None

    @property
    def facts(self) -> set[Fact]:
        facts: set[Fact] = {Shows(self.thing)}
        if self.colour is not None:
            facts.add(Coloured(self.thing, self.colour))
        if self.count is not None:
            facts.add(Counted(self.thing, self.count))
        if self.size is not None:
            facts.add(Sized(self.thing, self.size))
        return facts

    def say(self, random: Random) -> str:
        adjectives = []
        if self.size is not None:
            adjectives.append(_one_of(random, words.SIZE_WORDS[self.size]))
        if self.colour is not None:
            adjectives.append(_one_of(random, words.COLOUR_WORDS[self.colour]))
        noun = _one_of(random, words.NOUNS[self.thing])
        if self.count is None and random.random() < 0.3:
            return " ".join([*adjectives, random.choice((noun.singular, noun.plural))])
        if self.count is not None and self.count > 1:
            number = _one_of(random, words.COUNT_WORDS[self.count])
            return " ".join([number, *adjectives, noun.plural])
        is_plain = random.random() < 0.7 or self.count is None
        number = "a" if is_plain else _one_of(random, words.COUNT_WORDS[1])
        return _with_article(number, " ".join([*adjectives, noun.singular]))


@dataclass(frozen=True)
class Statement:
    """Mentions, how the first stands to the second, and the surroundings; any may be missing."""

    mentions: tuple[Mention, ...] = ()
    relation: Relation | None = None
    place: Place | None = None
    light: Light | None = None
    style: Style | None = None
    colour: Colour | None = None  # of something, whatever it is

    @cached_property
    def facts(self) -> frozenset[Fact]:
        facts: set[Fact] = {fact for mention in self.mentions for fact in mention.facts}
        if self.relation is not None:
            first, second = self.mentions[:2]
            facts.add(Related(first.thing, self.relation, second.thing))
        if self.colour is not None:
            facts.add(Contains(self.colour))
        surroundings = (self.place, self.light, self.style)
        return frozenset(facts.union(fact for fact in surroundings if fact is not None))

    def is_true_of(self, scene: Scene) -> bool:
        return self.facts <= scene.facts

    def say(self, random: Random) -> str:
        """One of the many ways to word it."""
        text = _joined(self._say_mentions(random))
        if self.style is not None:
            medium = _one_of(random, words.STYLE_WORDS[self.style])
            text = f"{medium} of {text}" if text else medium
        around = []
        if self.place is not None:
            around.append(_one_of(random, words.PLACE_WORDS[self.place]))
        if self.light is not None:
            around.append(_one_of(random, words.LIGHT_WORDS[self.light]))
        if not text or not around:
            return text or " ".join(around)
        if random.random() < 0.15:
            return f"{' '.join(around)}, {text}"
        return f"{text}{random.choice((' ', ', '))}{' '.join(around)}"

    def _say_mentions(self, random: Random) -> list[str]:
        said = [mention.say(random) for mention in self.mentions]
        if self.colour is not None:
            said.append(f"something {_one_of(random, words.COLOUR_WORDS[self.colour])}")
        if self.relation is None:
            return said
        relation = _one_of(random, words.RELATION_WORDS[self.relation])
        if random.random() < 0.5:
            return [f"{said[0]} {relation} {said[1]}", *said[2:]]
        pronoun = "it" if self.mentions[1].count in (None, 1) else "them"
        return [f"{said[1]} and {said[0]} {relation} {pronoun}", *said[2:]]


def _one_of(random: Random, options: Sequence[T]) -> T:
    """The usual word more often than the others."""
    return options[0] if random.random() < 0.5 else random.choice(options)


def _with_article(number: str, text: str) -> str:
    if number == "a" and text[0] in "aeiou":
        number = "an"
    return f"{number} {text}"


def _joined(parts: Sequence[str]) -> str:
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} and {parts[-1]}"
