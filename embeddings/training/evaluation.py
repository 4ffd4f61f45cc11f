"""Measures an encoder on scenes it has never seen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from embeddings import measures
from embeddings.encoders.contract import Encoder
from embeddings.measures import Pairs, Ranked
from embeddings.training.drawn import HELD_OUT
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
    captions = encoder.encode_texts([describe(scene) for scene in scenes])
    own = _ranked(captions, np.eye(len(scenes), dtype=np.bool_), images)
    pairs = [(colour, thing) for colour in Colour for thing in Thing]
    return Figures(
        scenes=scene_count,
        recall_at_1=float(measures.recall_at_k(own, 1).mean()),
        recall_at_10=float(measures.recall_at_k(own, K).mean()),
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


def _ranked(queries: Vectors, is_relevant: NDArray[np.bool_], images: Vectors) -> Ranked:
    """Rank the relevant images of each query; is_relevant is (queries, images)."""
    rows, columns = np.nonzero(is_relevant)
    pairs = Pairs(rows, columns, np.ones(len(rows)))
    return measures.rank(queries, pairs, lambda: [(np.arange(len(images)), images)])


def _mentions(pairs: Iterable[Pair]) -> list[Mention]:
    return [Mention(thing, colour) for colour, thing in sorted(pairs)]


def _precision(
    encoder: Encoder, mentions: Sequence[Mention], scenes: Sequence[Scene], images: Vectors
) -> Precision:
    statements = [Statement((mention,)) for mention in mentions]
    is_relevant = np.array(
        [[statement.is_true_of(scene) for scene in scenes] for statement in statements]
    )
    asked = np.flatnonzero(is_relevant.sum(axis=1) >= K)
    if not len(asked):
        return Precision(0.0, 0)
    queries = encoder.encode_texts([_query(mentions[row]) for row in asked.tolist()])
    ranked = _ranked(queries, is_relevant[asked], images)
    return Precision(float(measures.precision_at_k(ranked, K).mean()), len(asked))


def _query(mention: Mention) -> str:
    """The plainest words: "a red boat"."""
    words = f"{mention.colour} {mention.thing}" if mention.colour else mention.thing
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"
