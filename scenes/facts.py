"""What can be true of a scene, in single typed statements.

A scene is a set of facts and so is a statement, which is true of every scene that has all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from scenes.vocabulary import Colour, Light, Place, Relation, Size, Style, Thing


@dataclass(frozen=True, slots=True)
class Shows:
    thing: Thing


@dataclass(frozen=True, slots=True)
class Coloured:
    thing: Thing
    colour: Colour


@dataclass(frozen=True, slots=True)
class Counted:
    thing: Thing
    count: int


@dataclass(frozen=True, slots=True)
class Sized:
    thing: Thing
    size: Size


@dataclass(frozen=True, slots=True)
class Related:
    """Every `thing` stands in the relation to every `other`."""

    thing: Thing
    relation: Relation
    other: Thing


@dataclass(frozen=True, slots=True)
class Contains:
    """Something, whatever it is, has the colour."""

    colour: Colour


Fact = Shows | Coloured | Counted | Sized | Related | Contains | Place | Light | Style
