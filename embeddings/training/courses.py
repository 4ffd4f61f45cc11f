"""Puts together who learns from what."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image as Pixels
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from embeddings.encoders.sources import Source
from embeddings.training import checkpoint, evaluation
from embeddings.training.adapter import Adapter
from embeddings.training.architecture import Architecture, new_model, new_processor
from embeddings.training.augmentation import Augmentation
from embeddings.training.checkpoint import Checkpoint
from embeddings.training.drawn import (
    DrawnData,
    DrawnOptions,
    FactTable,
    say_about,
    training_scenes,
)
from embeddings.training.examples import Collection, Collector, Example, Split
from embeddings.training.frame import Frame
from embeddings.training.loop import Course, begin
from embeddings.training.options import Base, Method, TrainingOptions
from embeddings.training.pairs import PairData
from embeddings.training.pictures import draw_all
from embeddings.training.retrieval import HeldOut
from embeddings.training.tokenizer import build_tokenizer
from embeddings.training.towers import Towers
from embeddings.vectors import Vectors, normalise
from scenes import Scene, compose, describe

VOCABULARY_READINGS = 4  # every word of the grammar turns up in a few readings of all scenes
VOCABULARY_SCENES = 5_000
HELD_OUT_SCENES = 500  # that each epoch is measured on
TEXTS_AT_ONCE = 256
# Pictures are kept a little larger than they are looked at, so that there is something to cut.
KEPT, SEEN = 8, 7


@dataclass(frozen=True)
class Lessons:
    """Images with captions, and how they are read."""

    examples: Iterable[Example]
    split: Split
    augmentation: Augmentation
    folder: Path  # what was read of them is kept there


def of_scenes(drawn: DrawnOptions, options: TrainingOptions) -> Course:
    """An encoder from scratch, on drawn scenes with the exact truth of every pair."""
    begin(options)
    architecture = drawn.architecture
    scenes = training_scenes(drawn, seed=options.seed)
    unseen = [compose(evaluation.FIRST_SEED - 1 - k) for k in range(HELD_OUT_SCENES)]
    pictures = draw_all([*scenes, *unseen], architecture.side, processes=options.threads)
    group = 2 if drawn.has_twins else 1
    data = DrawnData(scenes, pictures[: len(scenes)], FactTable(scenes), group)
    tokenizer = _tokenizer_of(scenes, architecture, seed=options.seed)
    parts = _new_checkpoint(architecture, tokenizer)
    looked_at = partial(_as_it_is, Frame.of(parts.processor), options.device)
    captions = [(describe(scene),) for scene in unseen]
    held_out = HeldOut(captions, pictures[len(scenes) :], looked_at)
    return Course(Towers(parts, Base(), options.loss), data, held_out, options)


def of_examples(
    lessons: Lessons, base: Base, source: Source | None, options: TrainingOptions
) -> Course:
    """An encoder from scratch, or a base that is trained further, on images with captions."""
    begin(options)
    if source is None:
        return _from_scratch(lessons, base, options)
    parts = checkpoint.load(source)
    if base.method is Method.ADAPTER:
        return _adapter(lessons, parts, options)
    learner = Towers(parts, base, options.loss)
    collection = _pictures(lessons, Frame.of(parts.processor))
    return _course(learner, collection, lessons, options)


def _from_scratch(lessons: Lessons, base: Base, options: TrainingOptions) -> Course:
    architecture = base.architecture
    collection = _pictures(lessons, Frame.of(new_processor(architecture)))
    tokenizer = build_tokenizer(collection.texts, longest=architecture.longest_text)
    parts = _new_checkpoint(architecture, tokenizer)
    return _course(Towers(parts, base, options.loss), collection, lessons, options)


def _pictures(lessons: Lessons, frame: Frame) -> Collection:
    kept = frame.side * KEPT // SEEN
    collector = Collector(lessons.folder, edge=max(kept, frame.shorter_edge), split=lessons.split)
    return collector.collect(
        lessons.examples, partial(_squares, frame, kept), partial(_squares, frame, frame.side)
    )


def _course(
    learner: Towers, collection: Collection, lessons: Lessons, options: TrainingOptions
) -> Course:
    frame = learner.frame
    augmented = partial(_augmented, frame, lessons.augmentation, options.device)
    held_out = collection.held_out
    return Course(
        learner,
        PairData(collection.train, augmented),
        HeldOut(held_out.captions, held_out.images, partial(_as_it_is, frame, options.device)),
        options,
    )


def _adapter(lessons: Lessons, parts: Checkpoint, options: TrainingOptions) -> Course:
    towers = Towers(parts, Base(method=Method.WHOLE), options.loss).to(options.device).eval()
    frame = towers.frame
    encode = partial(_encode_images, towers, options.device)
    collector = Collector(
        lessons.folder, edge=max(frame.side, frame.shorter_edge), split=lessons.split
    )
    collection = collector.collect(lessons.examples, encode, encode)
    texts = collection.texts
    vectors = _encode_texts(towers, texts)
    row_by_text = {text: row for row, text in enumerate(texts)}
    held_out = collection.held_out
    return Course(
        Adapter(parts, vectors, row_by_text, options.loss),
        PairData(collection.train, partial(_vectors, options.device)),
        HeldOut(held_out.captions, held_out.images, partial(_vectors, options.device)),
        options,
    )


def _tokenizer_of(
    scenes: Sequence[Scene], architecture: Architecture, *, seed: int
) -> PreTrainedTokenizerFast:
    random = Random(seed)
    texts = (
        statement.say(random)
        for scene in scenes[:VOCABULARY_SCENES]
        for _ in range(VOCABULARY_READINGS)
        for statement in say_about(scene, random)
    )
    return build_tokenizer(texts, longest=architecture.longest_text)


def _new_checkpoint(architecture: Architecture, tokenizer: PreTrainedTokenizerFast) -> Checkpoint:
    return Checkpoint(new_model(architecture, tokenizer), tokenizer, new_processor(architecture))


def _squares(frame: Frame, side: int, pictures: Sequence[Pixels]) -> NDArray[np.uint8]:
    return np.stack([frame.square(picture, side) for picture in pictures])


def _augmented(
    frame: Frame, augmentation: Augmentation, device: str, rows: NDArray[np.uint8]
) -> Tensor:
    pictures = torch.from_numpy(rows).to(device).permute(0, 3, 1, 2)
    return frame.normalised(augmentation.of(pictures, frame.side))


def _as_it_is(frame: Frame, device: str, rows: NDArray[np.uint8]) -> Tensor:
    pictures = torch.from_numpy(rows).to(device).permute(0, 3, 1, 2)
    return frame.normalised(pictures.float() / 255)


def _vectors(device: str, rows: Vectors) -> Tensor:
    return torch.from_numpy(rows).to(device)


@torch.inference_mode()
def _encode_images(towers: Towers, device: str, pictures: Sequence[Pixels]) -> Vectors:
    frame = towers.frame
    pixels = _as_it_is(frame, device, _squares(frame, frame.side, pictures))
    return normalise(towers.image_features(pixels).float().cpu().numpy())


@torch.inference_mode()
def _encode_texts(towers: Towers, texts: Sequence[str]) -> Vectors:
    starts = range(0, len(texts), TEXTS_AT_ONCE)
    features = [towers.text_features(texts[k : k + TEXTS_AT_ONCE]) for k in starts]
    return normalise(torch.cat(features).float().cpu().numpy())
