"""Trains an encoder on drawn scenes, from scratch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import torch
from torch import Tensor
from tqdm import tqdm

from embeddings.training.checkpoint import CENTRE, SPREAD, Architecture, Checkpoint, new_model
from embeddings.training.data import HELD_OUT, Batch, FactTable, TrainingSet, say_about
from embeddings.training.loss import contrastive_loss
from embeddings.training.optimization import Stepper
from embeddings.training.pictures import draw_all
from embeddings.training.tokenizer import build_tokenizer
from scenes import Scene, compose

VOCABULARY_READINGS = 4  # every word of the grammar turns up in a few readings of all scenes
TEXTS_AT_ONCE = 128
HIGHEST_SCALE = math.log(100)  # as in CLIP
LARGEST_SHIFT = 4  # pixels


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """The defaults made the bundled encoder."""

    scenes: int = 24_000
    passes: int = 14
    seed: int = 0
    batch_size: int = 64
    threads: int = 2
    architecture: Architecture = field(default_factory=Architecture)


def train(options: TrainingOptions, output: Path) -> Iterator[float]:
    """Yield the mean loss of every pass; after each, `output` holds an encoder that can be used."""
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    random = Random(options.seed)
    data = _training_set(options)
    checkpoint = _new_checkpoint(options, data.scenes)
    steps_per_pass = len(data.scenes) // options.batch_size
    stepper = Stepper(checkpoint.model, steps=steps_per_pass * options.passes)
    for number in range(1, options.passes + 1):
        losses: list[float] = []
        batches = data.batches(options.batch_size, random)
        progress = tqdm(batches, f"pass {number}/{options.passes}", total=steps_per_pass)
        for batch in progress:
            loss = batch_loss(checkpoint, batch, random)
            stepper.step(loss)
            losses.append(loss.item())
            progress.set_postfix(loss=f"{sum(losses[-50:]) / len(losses[-50:]):.3f}")
        checkpoint.save(output)
        yield sum(losses) / len(losses)


def batch_loss(checkpoint: Checkpoint, batch: Batch, random: Random) -> Tensor:
    model = checkpoint.model
    pixels = _augmented(batch.pictures, random)
    with torch.autocast("cpu", torch.bfloat16):
        images = model.get_image_features(pixel_values=pixels).pooler_output
        texts = _text_features(checkpoint, batch.texts)
    cosines = _unit(texts) @ _unit(images).T
    scale = model.logit_scale.clamp(max=HIGHEST_SCALE).exp()
    return contrastive_loss(scale * cosines, batch.truth)


def _text_features(checkpoint: Checkpoint, texts: Sequence[str]) -> Tensor:
    """Features in the order of the texts, which are read by length: padding is work for nothing."""
    order = sorted(range(len(texts)), key=lambda k: texts[k].count(" "))
    features = []
    for start in range(0, len(order), TEXTS_AT_ONCE):
        tokens = checkpoint.tokenizer(
            [texts[k] for k in order[start : start + TEXTS_AT_ONCE]],
            padding=True,
            truncation=True,
            return_tensors="pt",
        )
        features.append(checkpoint.model.get_text_features(**tokens).pooler_output)
    places = torch.empty(len(order), dtype=torch.long)
    places[order] = torch.arange(len(order))
    return torch.cat(features)[places]


def _training_set(options: TrainingOptions) -> TrainingSet:
    # Far apart, so that no seed trains on the scenes of another, of the demo or of evaluation.
    first = options.seed * 1_000_000_000
    scenes = [compose(first + k, without=HELD_OUT) for k in range(options.scenes)]
    pictures = draw_all(scenes, options.architecture.side, processes=options.threads)
    return TrainingSet(scenes, pictures, FactTable(scenes))


def _new_checkpoint(options: TrainingOptions, scenes: Sequence[Scene]) -> Checkpoint:
    random = Random(options.seed)
    texts = (
        statement.say(random)
        for scene in scenes[:5_000]
        for _ in range(VOCABULARY_READINGS)
        for statement in say_about(scene, random)
    )
    architecture = options.architecture
    tokenizer = build_tokenizer(texts, longest=architecture.longest_text)
    return Checkpoint(new_model(architecture, tokenizer), tokenizer, architecture)


def _augmented(pictures: Tensor, random: Random) -> Tensor:
    """Pixels for the model, a little shifted, brighter or darker, but of the same hues."""
    count, _, side, _ = pictures.shape
    light = 1 + 0.08 * torch.randn(count, 1, 1, 1)
    pixels = (pictures.float() / 255 * light).clamp(0, 1)
    padded = torch.nn.functional.pad(pixels, (LARGEST_SHIFT,) * 4, mode="replicate")
    left, top = (random.randint(0, 2 * LARGEST_SHIFT) for _ in range(2))
    return (padded[:, :, top : top + side, left : left + side] - CENTRE) / SPREAD


def _unit(vectors: Tensor) -> Tensor:
    return torch.nn.functional.normalize(vectors.float(), dim=-1)
