"""Drawn scenes with captions: composed from a seed, drawn at any size, described in words."""

from __future__ import annotations

from scenes.composition import Pair, compose
from scenes.descriptions import describe, full_statement, near_misses, phrases
from scenes.drawing import draw
from scenes.gallery import demo
from scenes.scene import Scene
from scenes.statements import Mention, Statement
from scenes.vocabulary import Colour, Light, Place, Relation, Size, Style, Thing

__all__ = [
    "Colour",
    "Light",
    "Mention",
    "Pair",
    "Place",
    "Relation",
    "Scene",
    "Size",
    "Statement",
    "Style",
    "Thing",
    "compose",
    "demo",
    "describe",
    "draw",
    "full_statement",
    "near_misses",
    "phrases",
]
