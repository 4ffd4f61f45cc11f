"""A scene as typed values: what is in it, where, and how it is drawn.

Positions are fractions of the frame, sizes fractions of its shorter side, so one scene can be
drawn at any size and aspect ratio.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from scenes.colours import Shade
from scenes.facts import Coloured, Contains, Counted, Fact, Related, Shows, Sized
from scenes.vocabulary import Colour, Light, Place, Relation, Size, Style, Thing

# Centres that are nearer than this are neither left nor right, above nor below.
CLEARLY_APART = 0.08


@dataclass(frozen=True)
class Figure:
    """One drawn thing."""

    x: float  # centre, 0 left to 1 right
    y: float  # centre, 0 top to 1 bottom
    radius: float  # half of its box
    shade: Shade
    look: int  # seed of its outline
    is_mirrored: bool


@dataclass(frozen=True)
class Subject:
    """All the figures of one thing in a scene: they share colour and size."""

    thing: Thing
    colour: Colour
    size: Size
    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class Ground:
    """Where the sky ends and, if the scene has land and water, where the nearer one begins."""

    horizon: float
    shore: float | None


@dataclass(frozen=True)
class Scene:
    seed: int
    place: Place
    light: Light
    style: Style
    ground: Ground
    subjects: tuple[Subject, ...]

    @cached_property
    def facts(self) -> frozenset[Fact]:
        facts: set[Fact] = {self.place, self.light, self.style}
        for subject in self.subjects:
            thing = subject.thing
            facts |= {
                Shows(thing),
                Coloured(thing, subject.colour),
                Counted(thing, len(subject.figures)),
                Sized(thing, subject.size),
                Contains(subject.colour),
            }
            facts |= {
                Related(thing, relation, other.thing)
                for other in self.subjects
                for relation in relations(subject, other)
            }
        return frozenset(facts)

    @property
    def tags(self) -> tuple[str, ...]:
        """Things, their colours, place, light and style, as single words."""
        things = [subject.thing for subject in self.subjects]
        colours = [subject.colour for subject in self.subjects]
        return tuple(dict.fromkeys([*things, *colours, self.place, self.light, self.style]))


def relations(subject: Subject, other: Subject) -> list[Relation]:
    """How all of the subject's figures clearly stand to all of the other's."""
    xs, other_xs = [f.x for f in subject.figures], [f.x for f in other.figures]
    ys, other_ys = [f.y for f in subject.figures], [f.y for f in other.figures]
    tests = {
        Relation.LEFT: min(other_xs) - max(xs),
        Relation.RIGHT: min(xs) - max(other_xs),
        Relation.ABOVE: min(other_ys) - max(ys),
        Relation.BELOW: min(ys) - max(other_ys),
    }
    return [relation for relation, gap in tests.items() if gap > CLEARLY_APART]
