"""Batches of pictures and texts, with the exact truth of every pair."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from random import Random

import numpy as np
import torch
from torch import Tensor

from embeddings.training.pictures import Pictures
from embeddings.training.tokenizer import UNKNOWN
from scenes import (
    Colour,
    Mention,
    Pair,
    Scene,
    Statement,
    Thing,
    full_statement,
    near_misses,
    phrases,
)
from scenes.facts import Fact

# Pairs that no training scene and no training text shows, to measure what the encoder makes of
# a colour and a thing that it knows apart but never saw together.
HELD_OUT: frozenset[Pair] = frozenset(
    {
        (Colour.BLUE, Thing.CAR),
        (Colour.YELLOW, Thing.FISH),
        (Colour.GREEN, Thing.CAT),
        (Colour.PURPLE, Thing.HOUSE),
        (Colour.PINK, Thing.STAR),
        (Colour.ORANGE, Thing.BIRD),
        (Colour.WHITE, Thing.MUSHROOM),
        (Colour.BLACK, Thing.KITE),
        (Colour.RED, Thing.MOON),
        (Colour.YELLOW, Thing.MOUNTAIN),
        (Colour.BLUE, Thing.FLOWER),
        (Colour.PURPLE, Thing.BALLOON),
    }
)

UNKNOWN_SHARE = 0.1  # of texts get a word that the encoder does not know


class FactTable:
    """Facts as numbers, so that a matrix product tells which statement is true of which scene."""

    def __init__(self, scenes: Iterable[Scene]) -> None:
        facts = {fact for scene in scenes for fact in scene.facts}
        self._number_by_fact = {fact: k for k, fact in enumerate(sorted(facts, key=repr), start=1)}

    def truth(self, statements: Sequence[Statement], scenes: Sequence[Scene]) -> Tensor:
        """Booleans of shape (statements, scenes)."""
        said = self._matrix([statement.facts for statement in statements])
        seen = self._matrix([scene.facts for scene in scenes])
        seen[:, 0] = 0  # column 0 stands for all facts that no scene has
        return said @ seen.T >= said.sum(dim=1, keepdim=True)

    def _matrix(self, rows: Sequence[Set[Fact]]) -> Tensor:
        matrix = torch.zeros(len(rows), len(self._number_by_fact) + 1)
        for row, facts in zip(matrix, rows, strict=True):
            row[[self._number_by_fact.get(fact, 0) for fact in facts]] = 1
        return matrix


@dataclass(frozen=True)
class Batch:
    pictures: Tensor  # (images, 3, side, side), uint8
    texts: list[str]
    truth: Tensor  # (texts, images), bool


@dataclass(frozen=True)
class TrainingSet:
    scenes: Sequence[Scene]
    pictures: Pictures
    facts: FactTable

    def batches(self, batch_size: int, random: Random) -> Iterator[Batch]:
        """One pass over all scenes in random order, in whole batches."""
        order = list(range(len(self.scenes)))
        random.shuffle(order)
        for start in range(0, len(order) - batch_size + 1, batch_size):
            yield self._batch(order[start : start + batch_size], random)

    def _batch(self, chosen: Sequence[int], random: Random) -> Batch:
        scenes = [self.scenes[k] for k in chosen]
        statements = [said for scene in scenes for said in say_about(scene, random)]
        texts = [_with_unknown_word(said.say(random), random) for said in statements]
        pictures = torch.from_numpy(np.ascontiguousarray(self.pictures[chosen]))
        return Batch(pictures.permute(0, 3, 1, 2), texts, self.facts.truth(statements, scenes))


def say_about(scene: Scene, random: Random) -> list[Statement]:
    """A full caption, one that is nearly true, a thing in its colour, and a short phrase."""
    caption = full_statement(scene, random)
    subject = random.choice(scene.subjects)
    return [
        caption,
        random.choice(near_misses(caption, scene, random, without=HELD_OUT)),
        Statement((Mention(subject.thing, subject.colour),)),
        random.choice(phrases(scene)),
    ]


def _with_unknown_word(text: str, random: Random) -> str:
    """Now and then the text with an unknown word in it, which changes nothing of its truth."""
    if random.random() >= UNKNOWN_SHARE:
        return text
    words = text.split()
    words.insert(random.randint(0, len(words)), UNKNOWN)
    return " ".join(words)
