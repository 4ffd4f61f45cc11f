"""The outlines of every thing."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from scenes.figures import animals, land, sky, water
from scenes.shapes import Part
from scenes.vocabulary import Thing

# A figure varies with the Random it is given; parts are painted in order.
FIGURES: dict[Thing, Callable[[Random], list[Part]]] = {
    Thing.HOUSE: land.house,
    Thing.TREE: land.tree,
    Thing.BOAT: water.boat,
    Thing.CAR: land.car,
    Thing.FISH: water.fish,
    Thing.BIRD: animals.bird,
    Thing.SUN: sky.sun,
    Thing.MOON: sky.moon,
    Thing.STAR: sky.star,
    Thing.CLOUD: sky.cloud,
    Thing.MOUNTAIN: land.mountain,
    Thing.FLOWER: land.flower,
    Thing.BALL: land.ball,
    Thing.CAT: animals.cat,
    Thing.BALLOON: sky.balloon,
    Thing.KITE: sky.kite,
    Thing.MUSHROOM: land.mushroom,
    Thing.BUTTERFLY: animals.butterfly,
}
