"""Chooses what a scene shows and finds a good spot for every figure."""

from __future__ import annotations

import itertools
from collections.abc import Set
from dataclasses import dataclass, replace
from enum import Enum, auto
from random import Random

from scenes.colours import SHADES
from scenes.scene import Figure, Ground, Scene, Subject
from scenes.vocabulary import Colour, Light, Place, Size, Style, Thing

Pair = tuple[Colour, Thing]


class Zone(Enum):
    SKY = auto()
    LAND = auto()
    WATER = auto()
    HORIZON = auto()


@dataclass(frozen=True)
class Habit:
    """Where a thing belongs, how large it is, and how much of its box it fills."""

    zone: Zone
    radius: float
    width: float = 1.0
    height: float = 1.0


HABITS: dict[Thing, Habit] = {
    Thing.HOUSE: Habit(Zone.LAND, 0.165),
    Thing.TREE: Habit(Zone.LAND, 0.175, width=0.8),
    Thing.BOAT: Habit(Zone.WATER, 0.155),
    Thing.CAR: Habit(Zone.LAND, 0.145, height=0.75),
    Thing.FISH: Habit(Zone.WATER, 0.13, height=0.7),
    Thing.BIRD: Habit(Zone.SKY, 0.135, height=0.8),
    Thing.SUN: Habit(Zone.SKY, 0.14),
    Thing.MOON: Habit(Zone.SKY, 0.13, width=0.9),
    Thing.STAR: Habit(Zone.SKY, 0.12),
    Thing.CLOUD: Habit(Zone.SKY, 0.165, height=0.6),
    Thing.MOUNTAIN: Habit(Zone.HORIZON, 0.155),
    Thing.FLOWER: Habit(Zone.LAND, 0.16, width=0.7),
    Thing.BALL: Habit(Zone.LAND, 0.105),
    Thing.CAT: Habit(Zone.LAND, 0.14),
    Thing.BALLOON: Habit(Zone.SKY, 0.17, width=0.7),
    Thing.KITE: Habit(Zone.SKY, 0.165, width=0.75),
    Thing.MUSHROOM: Habit(Zone.LAND, 0.13),
    Thing.BUTTERFLY: Habit(Zone.SKY, 0.13),
}

SCALES: dict[Size, float] = {Size.SMALL: 0.7, Size.MEDIUM: 1.0, Size.BIG: 1.4}
# The fewer figures, the larger: a lone one would leave the frame empty.
SCALE_BY_FIGURES = {1: 1.34, 2: 1.24, 3: 1.15, 4: 1.07, 5: 1.0}
MOST_FIGURES = 5
MARGIN = 0.015  # free room that every figure keeps around it


def compose(seed: int, *, without: Set[Pair] = frozenset()) -> Scene:
    """The scene of this seed, always the same one.

    Pairs in `without` never appear: a thing that would make one takes another colour.
    """
    for attempt in itertools.count():
        random = Random(f"{seed}/{attempt}")
        sketches = _sketches(random, without)
        place = random.choice(list(Place))
        light = random.choices(list(Light), weights=(5, 3, 4))[0]
        style = random.choice(list(Style))
        ground = _ground(random, place, sketches)
        subjects = _arrange(random, sketches, place, ground)
        if subjects is not None:
            return Scene(seed, place, light, style, ground, subjects)
    raise AssertionError("itertools.count() never ends")


@dataclass(frozen=True)
class _Sketch:
    """A subject that has no place yet."""

    thing: Thing
    colour: Colour
    size: Size
    count: int
    scale: float = 1.0

    @property
    def habit(self) -> Habit:
        return HABITS[self.thing]

    @property
    def radius(self) -> float:
        return self.habit.radius * SCALES[self.size] * self.scale


def _sketches(random: Random, without: Set[Pair]) -> list[_Sketch]:
    kinds = random.choices((1, 2, 3), weights=(36, 48, 16))[0]
    sketches: list[_Sketch] = []
    for thing in random.sample(list(Thing), kinds):
        colour = random.choice(list(Colour))
        while (colour, thing) in without:
            colour = random.choice(list(Colour))
        # A single small figure would leave the frame empty.
        size = random.choices(list(Size), weights=(2 if kinds == 1 else 4, 4, 4))[0]
        room = MOST_FIGURES - kinds + 1 - sum(sketch.count - 1 for sketch in sketches)
        count = min(random.choices((1, 2, 3), weights=(54, 28, 18))[0], room)
        sketches.append(_Sketch(thing, colour, size, count))
    scale = SCALE_BY_FIGURES[sum(sketch.count for sketch in sketches)]
    return [replace(sketch, scale=scale) for sketch in sketches]


def _ground(random: Random, place: Place, sketches: list[_Sketch]) -> Ground:
    zones = {sketch.habit.zone for sketch in sketches}
    highest = 0.5 if Zone.HORIZON in zones else 0.4  # mountains want a high sky
    if Zone.LAND in zones and (Zone.WATER in zones or place is Place.SEA):
        return Ground(random.uniform(highest, highest + 0.06), random.uniform(0.65, 0.7))
    if Zone.WATER in zones and place is not Place.SEA:
        return Ground(random.uniform(highest, highest + 0.06), random.uniform(0.54, 0.6))
    return Ground(random.uniform(0.46, 0.62), None)


def _reach(zone: Zone, place: Place, ground: Ground) -> tuple[float, float]:
    """From where to where the zone goes down the frame; for a figure that stands, its feet."""
    near = (ground.shore or ground.horizon, 1.0)
    far = (ground.horizon, ground.shore or 1.0)
    if zone is Zone.SKY:
        return 0.0, ground.horizon
    if zone is Zone.HORIZON:
        return ground.horizon, ground.horizon + 0.03
    is_near = (zone is Zone.LAND) == (place is Place.SEA)
    low, high = near if is_near else far
    return low + 0.05, high - 0.03


def _arrange(
    random: Random, sketches: list[_Sketch], place: Place, ground: Ground
) -> tuple[Subject, ...] | None:
    """The sketches as subjects, or None if they find no room."""
    taken: list[tuple[Figure, Habit]] = []
    subjects = []
    for sketch in sketches:
        shade = SHADES[sketch.colour].pick(random)
        figures: list[Figure] = []
        for _ in range(sketch.count):
            spots = [_spot(random, sketch, place, ground) for _ in range(40)]
            free = [spot for spot in spots if _gap(spot, sketch.habit, taken) > MARGIN]
            if not free:
                return None
            # Of some free spots the one that is nearest to its own kind.
            spot = min(free[:4], key=lambda spot: _distance(spot, figures))
            figure = Figure(
                *spot,
                shade=shade.lighter(random.uniform(-0.02, 0.02)),
                look=random.getrandbits(32),
                is_mirrored=random.random() < 0.5,
            )
            figures.append(figure)
            taken.append((figure, sketch.habit))
        subjects.append(Subject(sketch.thing, sketch.colour, sketch.size, tuple(figures)))
    return tuple(subjects)


def _spot(
    random: Random, sketch: _Sketch, place: Place, ground: Ground
) -> tuple[float, float, float]:
    """A random centre and radius in the thing's zone."""
    habit = sketch.habit
    low, high = _reach(habit.zone, place, ground)
    radius = sketch.radius * random.uniform(0.94, 1.06)
    x = random.uniform(habit.width * radius + 0.01, 0.99 - habit.width * radius)
    if habit.zone is Zone.SKY:
        top = habit.height * radius + 0.02
        return x, random.uniform(top, max(high - habit.height * radius, top + 0.04)), radius
    feet = random.uniform(low, high)
    if habit.zone is not Zone.HORIZON:
        radius *= 0.9 + 0.2 * feet  # nearer is larger
    if sketch.thing is Thing.FISH:
        return x, min(max(feet, low + radius * 0.5), 0.99 - radius * habit.height), radius
    return x, feet - radius, radius


def _gap(
    spot: tuple[float, float, float], habit: Habit, taken: list[tuple[Figure, Habit]]
) -> float:
    """The free room between a spot's box and the nearest figure; negative where they overlap."""
    x, y, radius = spot
    gaps = [
        max(
            abs(x - figure.x) - radius * habit.width - figure.radius * other.width,
            abs(y - figure.y) - radius * habit.height - figure.radius * other.height,
        )
        for figure, other in taken
    ]
    return min(gaps, default=1.0)


def _distance(spot: tuple[float, float, float], figures: list[Figure]) -> float:
    return min(((spot[0] - f.x) ** 2 + (spot[1] - f.y) ** 2 for f in figures), default=0.0)
