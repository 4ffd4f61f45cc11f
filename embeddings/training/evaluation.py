"""Measures an encoder on scenes it has never seen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from embeddings.encoders.contract import Encoder
from embeddings.training.data import HELD_OUT
from embeddings.vectors import Vectors
from scenes import Colour, Mention, Pair, Scene, Statement, Thing, compose, describe, draw

# Far from the seeds of training and of the demo gallery.
FIRST_SEED = 900_000_000
DRAWN_SIZES = ((320, 240), (240, 240), (240, 320), (384, 240))
BATCH = 64
K = 10


@dataclass(frozen=True)
class Precision:
    """Mean precision@10 of short queries that have at least ten relevant scenes."""

    mean: float
    queries: int


@dataclass(frozen=True)
class Figures:
    scenes: int
    recall_at_1: float  # full caption to its image
    recall_at_10: float
    thing: Precision  # "a boat"
    coloured_thing: Precision  # "a red boat"
    held_out: Precision  # a colour and a thing never seen together in training

    def rows(self) -> Iterator[tuple[str, str]]:
        """What was measured, and the figure."""
        yield "unseen scenes", f"{self.scenes:,}"
        yield "caption to image, recall@1", f"{self.recall_at_1:.3f}"
        yield "caption to image, recall@10", f"{self.recall_at_10:.3f}"
        for name, precision in (
            ("a thing", self.thing),
            ("a thing in a colour", self.coloured_thing),
            ("a pair of colour and thing held out of training", self.held_out),
        ):
            yield f"{name}, precision@10", f"{precision.mean:.3f} ({precision.queries} queries)"


def evaluate(encoder: Encoder, *, scene_count: int = 1_000) -> Figures:
    scenes = [compose(FIRST_SEED + k) for k in range(scene_count)]
    images = _encode_scenes(encoder, scenes)
    ranks = _ranks(encoder.encode_texts([describe(scene) for scene in scenes]), images)
    pairs = [(colour, thing) for colour in Colour for thing in Thing]
    return Figures(
        scenes=scene_count,
        recall_at_1=float((ranks <= 1).mean()),
        recall_at_10=float((ranks <= K).mean()),
        thing=_precision(encoder, [Mention(thing) for thing in Thing], scenes, images),
        coloured_thing=_precision(encoder, _mentions(set(pairs) - HELD_OUT), scenes, images),
        held_out=_precision(encoder, _mentions(HELD_OUT), scenes, images),
    )


def _encode_scenes(encoder: Encoder, scenes: Sequence[Scene]) -> Vectors:
    starts = tqdm(range(0, len(scenes), BATCH), "encoding unseen scenes")
    vectors = [
        encoder.encode_images(
            [draw(scene, DRAWN_SIZES[scene.seed % 4]) for scene in scenes[start : start + BATCH]]
        )
        for start in starts
    ]
    return np.concatenate(vectors)


def _ranks(captions: Vectors, images: Vectors) -> NDArray[np.int64]:
    """The rank of each caption's own image, from 1; on a tie the worse one."""
    scores = captions @ images.T
    own = scores.diagonal()[:, None]
    return np.asarray((scores >= own).sum(axis=1), dtype=np.int64)


def _mentions(pairs: Iterable[Pair]) -> list[Mention]:
    return [Mention(thing, colour) for colour, thing in sorted(pairs)]


def _precision(
    encoder: Encoder, mentions: Sequence[Mention], scenes: Sequence[Scene], images: Vectors
) -> Precision:
    precisions = []
    for statement in (Statement((mention,)) for mention in mentions):
        relevant = np.array([statement.is_true_of(scene) for scene in scenes])
        if relevant.sum() < K:
            continue
        scores = images @ encoder.encode_texts([_query(statement.mentions[0])])[0]
        precisions.append(relevant[np.argsort(-scores)[:K]].mean())
    return Precision(float(np.mean(precisions)) if precisions else 0.0, len(precisions))


def _query(mention: Mention) -> str:
    """The plainest words: "a red boat"."""
    words = f"{mention.colour} {mention.thing}" if mention.colour else mention.thing
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"
