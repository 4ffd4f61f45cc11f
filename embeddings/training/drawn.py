"""Batches of drawn scenes and texts, with the exact truth of every pair."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from functools import partial
from random import Random

import numpy as np
import torch
from PIL.Image import Image as Pixels
from torch import Tensor

from embeddings.training.architecture import CENTRE, SPREAD, Architecture
from embeddings.training.contract import Batch
from embeddings.training.examples import Example
from embeddings.training.pictures import SHAPES, Pictures
from embeddings.training.tokenizer import UNKNOWN
from scenes import (
    Colour,
    Mention,
    Pair,
    Scene,
    Statement,
    Thing,
    compose,
    describe,
    draw,
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

LARGEST_SHIFT = 4  # pixels
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
class DrawnData:
    """Scenes with statements about them."""

    scenes: Sequence[Scene]
    pictures: Pictures
    facts: FactTable

    def __len__(self) -> int:
        return len(self.scenes)

    def order(self, random: Random) -> list[int]:
        numbers = list(range(len(self.scenes)))
        random.shuffle(numbers)
        return numbers

    def batch(self, chosen: Sequence[int], random: Random) -> Batch:
        scenes = [self.scenes[k] for k in chosen]
        statements = [said for scene in scenes for said in say_about(scene, random)]
        texts = [_with_unknown_word(said.say(random), random) for said in statements]
        pictures = torch.from_numpy(np.ascontiguousarray(self.pictures[chosen]))
        truth = self.facts.truth(statements, scenes)
        return Batch(_augmented(pictures.permute(0, 3, 1, 2), random), texts, truth)


@dataclass(frozen=True, kw_only=True)
class DrawnOptions:
    """Which scenes are learnt from. The defaults made the bundled encoder."""

    scenes: int = 40_000
    architecture: Architecture = field(default_factory=Architecture)


def training_scenes(options: DrawnOptions, *, seed: int) -> list[Scene]:
    # Far apart, so that no seed trains on the scenes of another, of the demo or of evaluation.
    first = seed * 1_000_000_000
    return [compose(first + k, without=HELD_OUT) for k in range(options.scenes)]


def drawn_examples(count: int, *, seed: int, captions: int = 4) -> Iterator[Example]:
    """Scenes as images with captions, for who learns as from any library."""
    for number in range(count):
        scene = compose(seed * 1_000_000_000 + number, without=HELD_OUT)
        said = tuple(describe(scene, seed=k) for k in range(captions))
        yield Example(str(scene.seed), said, partial(_drawn, scene))


def _drawn(scene: Scene, edge: int) -> Pixels:
    width, height = SHAPES[scene.seed % len(SHAPES)]
    return draw(scene, (round(width * edge), round(height * edge)))


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


def _augmented(pictures: Tensor, random: Random) -> Tensor:
    """Pixels for the model, a little shifted, brighter or darker, but of the same hues."""
    count, _, side, _ = pictures.shape
    light = 1 + 0.08 * torch.randn(count, 1, 1, 1)
    pixels = (pictures.float() / 255 * light).clamp(0, 1)
    padded = torch.nn.functional.pad(pixels, (LARGEST_SHIFT,) * 4, mode="replicate")
    left, top = (random.randint(0, 2 * LARGEST_SHIFT) for _ in range(2))
    return (padded[:, :, top : top + side, left : left + side] - CENTRE) / SPREAD
