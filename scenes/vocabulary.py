"""What a scene can show, and the words people use for it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Thing(StrEnum):
    HOUSE = "house"
    TREE = "tree"
    BOAT = "boat"
    CAR = "car"
    FISH = "fish"
    BIRD = "bird"
    SUN = "sun"
    MOON = "moon"
    STAR = "star"
    CLOUD = "cloud"
    MOUNTAIN = "mountain"
    FLOWER = "flower"
    BALL = "ball"
    CAT = "cat"
    BALLOON = "balloon"
    KITE = "kite"
    MUSHROOM = "mushroom"
    BUTTERFLY = "butterfly"


class Colour(StrEnum):
    RED = "red"
    ORANGE = "orange"
    YELLOW = "yellow"
    GREEN = "green"
    BLUE = "blue"
    PURPLE = "purple"
    PINK = "pink"
    WHITE = "white"
    BLACK = "black"


class Size(StrEnum):
    SMALL = "small"
    MEDIUM = "medium"
    BIG = "big"


class Place(StrEnum):
    SEA = "sea"
    DESERT = "desert"
    SNOW = "snow"
    MEADOW = "meadow"
    CITY = "city"


class Light(StrEnum):
    DAY = "day"
    SUNSET = "sunset"
    NIGHT = "night"


class Style(StrEnum):
    FLAT = "flat"
    INK = "ink"
    WATERCOLOUR = "watercolour"
    PAPER = "paper"
    PRINT = "print"
    PASTEL = "pastel"


class Relation(StrEnum):
    ABOVE = "above"
    BELOW = "below"
    LEFT = "left of"
    RIGHT = "right of"

    @property
    def opposite(self) -> Relation:
        return _OPPOSITES[self]


_OPPOSITES = {
    Relation.ABOVE: Relation.BELOW,
    Relation.BELOW: Relation.ABOVE,
    Relation.LEFT: Relation.RIGHT,
    Relation.RIGHT: Relation.LEFT,
}


@dataclass(frozen=True)
class Noun:
    singular: str
    plural: str


def _nouns(*pairs: str) -> tuple[Noun, ...]:
    """Nouns from "boat boats"; the plural is left out where it only adds an s."""
    nouns = []
    for pair in pairs:
        singular, _, plural = pair.partition(" / ")
        nouns.append(Noun(singular, plural or singular + "s"))
    return tuple(nouns)


# The first word is the usual one.
NOUNS: dict[Thing, tuple[Noun, ...]] = {
    Thing.HOUSE: _nouns("house", "home", "cottage"),
    Thing.TREE: _nouns("tree"),
    Thing.BOAT: _nouns("boat", "ship", "sailboat", "sailing boat"),
    Thing.CAR: _nouns("car", "automobile", "auto"),
    Thing.FISH: _nouns("fish / fish", "fish / fishes"),
    Thing.BIRD: _nouns("bird"),
    Thing.SUN: _nouns("sun"),
    Thing.MOON: _nouns("moon", "crescent", "crescent moon"),
    Thing.STAR: _nouns("star"),
    Thing.CLOUD: _nouns("cloud"),
    Thing.MOUNTAIN: _nouns("mountain", "peak", "mount"),
    Thing.FLOWER: _nouns("flower", "blossom", "bloom"),
    Thing.BALL: _nouns("ball", "beach ball"),
    Thing.CAT: _nouns("cat", "kitten", "kitty / kitties"),
    Thing.BALLOON: _nouns("balloon", "hot air balloon", "air balloon"),
    Thing.KITE: _nouns("kite"),
    Thing.MUSHROOM: _nouns("mushroom", "toadstool"),
    Thing.BUTTERFLY: _nouns("butterfly / butterflies"),
}

COLOUR_WORDS: dict[Colour, tuple[str, ...]] = {
    Colour.RED: ("red", "crimson", "scarlet"),
    Colour.ORANGE: ("orange", "tangerine"),
    Colour.YELLOW: ("yellow", "golden"),
    Colour.GREEN: ("green", "emerald"),
    Colour.BLUE: ("blue", "azure"),
    Colour.PURPLE: ("purple", "violet"),
    Colour.PINK: ("pink", "rose"),
    Colour.WHITE: ("white", "snow white"),
    Colour.BLACK: ("black", "jet black"),
}

SIZE_WORDS: dict[Size, tuple[str, ...]] = {
    Size.SMALL: ("small", "little", "tiny"),
    Size.MEDIUM: (),  # not worth a word
    Size.BIG: ("big", "large", "huge"),
}

COUNT_WORDS: dict[int, tuple[str, ...]] = {
    1: ("one", "1", "a single"),
    2: ("two", "2", "a pair of"),
    3: ("three", "3"),
}

RELATION_WORDS: dict[Relation, tuple[str, ...]] = {
    Relation.ABOVE: ("above", "over", "higher than"),
    Relation.BELOW: ("below", "under", "beneath"),
    Relation.LEFT: ("left of", "to the left of", "on the left of"),
    Relation.RIGHT: ("right of", "to the right of", "on the right of"),
}

PLACE_WORDS: dict[Place, tuple[str, ...]] = {
    Place.SEA: ("by the sea", "at the sea", "on the sea", "on the ocean", "by the water"),
    Place.DESERT: ("in the desert", "in a sandy desert", "among the dunes"),
    Place.SNOW: ("in the snow", "in a snowy land", "in winter"),
    Place.MEADOW: ("in a meadow", "in a green field", "in the meadow", "on the grass"),
    Place.CITY: ("in the city", "in a town", "in front of a city"),
}

LIGHT_WORDS: dict[Light, tuple[str, ...]] = {
    Light.DAY: ("by day", "in the daytime", "during the day", "in daylight"),
    Light.SUNSET: ("at sunset", "at dusk", "in the evening"),
    Light.NIGHT: ("at night", "by night", "in the dark"),
}

STYLE_WORDS: dict[Style, tuple[str, ...]] = {
    Style.FLAT: ("a flat illustration", "a flat drawing"),
    Style.INK: ("an ink drawing", "a drawing in ink"),
    Style.WATERCOLOUR: ("a watercolour", "a watercolor painting"),
    Style.PAPER: ("a paper cut", "a paper collage"),
    Style.PRINT: ("a print", "a grainy print"),
    Style.PASTEL: ("a pastel drawing", "a crayon drawing"),
}
