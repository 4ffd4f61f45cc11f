"""Puts together who learns from what."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from random import Random

import numpy as np
import torch
from PIL.Image import Image as Pixels
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from embeddings.encoders import opening, reading
from embeddings.encoders.contract import Encoder
from embeddings.encoders.framing import Framing
from embeddings.encoders.huggingface import TorchEncoder
from embeddings.encoders.sources import Source
from embeddings.training import checkpoint, evaluation
from embeddings.training.adapter import Adapter, text_projection
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
from embeddings.training.examples import Collection, Collector, Example, Listed, Room, Split
from embeddings.training.loop import Course, begin
from embeddings.training.options import Base, Method, TrainingOptions
from embeddings.training.pairs import PairData
from embeddings.training.pictures import draw_all
from embeddings.training.retrieval import HeldOut
from embeddings.training.sight import Sight, frames_of, larger
from embeddings.training.tokenizer import build_tokenizer
from embeddings.training.towers import Towers
from embeddings.vectors import Vector, Vectors
from scenes import Scene, compose, describe

VOCABULARY_READINGS = 4  # every word of the grammar turns up in a few readings of all scenes
VOCABULARY_SCENES = 5_000
MOST_HELD_OUT = 500  # scenes that each epoch is measured on
TEXTS_AT_ONCE = 256


@dataclass(frozen=True)
class Lessons:
    """Images with captions, and how they are read."""

    examples: Iterable[Listed]
    split: Split
    augmentation: Augmentation
    room: Room  # for what was read of them


def of_scenes(drawn: DrawnOptions, options: TrainingOptions) -> Course:
    """An encoder from scratch, on drawn scenes with the exact truth of every pair."""
    begin(options)
    architecture = drawn.architecture
    scenes = training_scenes(drawn, seed=options.seed)
    held_out_count = min(len(scenes) // 10 + 1, MOST_HELD_OUT)
    unseen = [compose(evaluation.FIRST_SEED - 1 - k) for k in range(held_out_count)]
    pictures = draw_all([*scenes, *unseen], architecture.side, processes=options.threads)
    data = DrawnData(scenes, pictures[: len(scenes)], FactTable(scenes))
    tokenizer = _tokenizer_of(scenes, architecture, seed=options.seed)
    start = _new_checkpoint(architecture, tokenizer)
    captions = [(describe(scene),) for scene in unseen]
    sight = Sight.of(start.parts, options.device)
    held_out = HeldOut(captions, pictures[len(scenes) :], sight.as_they_are)
    return Course(Towers(start, Base(), options.loss), data, held_out, options)


def of_examples(
    lessons: Lessons, base: Base, source: Source | None, options: TrainingOptions
) -> Course:
    """An encoder from scratch, or a base that is trained further, on images with captions."""
    begin(options)
    if source is None:
        return _from_scratch(lessons, base, options)
    start = checkpoint.load(source)
    if base.method is Method.ADAPTER:
        return _adapter(lessons, start, source, options)
    # Before the images are read, which may take an hour: not each base can be trained in each way.
    learner = Towers(start, base, options.loss)
    return _course(lessons, _pictures(lessons, start.parts.framing), learner, options)


def _from_scratch(lessons: Lessons, base: Base, options: TrainingOptions) -> Course:
    architecture = base.architecture
    framing, _, _ = reading.framing_of(new_processor(architecture))
    collection = _pictures(lessons, framing)
    # Of those that are learnt from: a word that is only held out would stay as it is by lot.
    captions = chain.from_iterable(collection.train.captions)
    tokenizer = build_tokenizer(captions, longest=architecture.longest_text, fewest=2)
    start = _new_checkpoint(architecture, tokenizer)
    return _course(lessons, collection, Towers(start, base, options.loss), options)


def _pictures(lessons: Lessons, framing: Framing) -> Collection:
    kept = larger(framing)
    collector = Collector(lessons.room, lessons.split, lambda example: example.open(kept.edge))
    seen = partial(frames_of, framing)
    return collector.collect(lessons.examples, partial(frames_of, kept), seen)


def _course(
    lessons: Lessons, collection: Collection, learner: Towers, options: TrainingOptions
) -> Course:
    sight = Sight.of(learner.start.parts, options.device)
    held_out = collection.held_out
    return Course(
        learner,
        PairData(collection.train, partial(sight.augmented, lessons.augmentation)),
        HeldOut(held_out.captions, held_out.images, sight.as_they_are),
        options,
    )


def _adapter(
    lessons: Lessons, start: Checkpoint, source: Source, options: TrainingOptions
) -> Course:
    text_projection(start.parts.model)  # raises where an adapter could become part of nothing
    encoder = _encoder(source, options.device)
    encode = partial(_vectors_of, encoder)
    collector = Collector(lessons.room, lessons.split, partial(_known_or_open, encoder))
    collection = collector.collect(lessons.examples, encode, encode)
    texts = collection.texts
    vectors = _encode_texts(encoder, texts)
    row_by_text = {text: row for row, text in enumerate(texts)}
    held_out = collection.held_out
    return Course(
        Adapter(start, vectors, row_by_text, options.loss),
        PairData(collection.train, partial(_on_device, options.device)),
        HeldOut(held_out.captions, held_out.images, partial(_on_device, options.device)),
        options,
    )


def _encoder(source: Source, device: str) -> Encoder:
    """Load what makes the vectors of a base: on a processor, as quickly as searches have them."""
    if device == "cpu":
        return opening.open_source(source)
    return TorchEncoder(source, device=device, precision="auto")


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
    model = new_model(architecture, tokenizer)
    return checkpoint.new(model, tokenizer, new_processor(architecture))


def _known_or_open(encoder: Encoder, example: Example) -> Pixels | Vector:
    if example.vector is None:
        return example.open(encoder.framing.edge)
    return example.vector


def _vectors_of(encoder: Encoder, opened: Sequence[Pixels | Vector]) -> Vectors:
    pictures = [one for one in opened if not isinstance(one, np.ndarray)]
    encoded = iter(encoder.encode_images(pictures) if pictures else ())
    return np.stack([one if isinstance(one, np.ndarray) else next(encoded) for one in opened])


def _on_device(device: str, rows: Vectors) -> Tensor:
    return torch.from_numpy(rows).to(device)


def _encode_texts(encoder: Encoder, texts: Sequence[str]) -> Vectors:
    starts = range(0, len(texts), TEXTS_AT_ONCE)
    return np.concatenate([encoder.encode_texts(texts[k : k + TEXTS_AT_ONCE]) for k in starts])
