"""Trains a learner, epoch by epoch, and goes on where a process that died has left off."""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from random import Random

import torch
from torch import Tensor
from tqdm import tqdm

from embeddings.errors import TrainingFailed
from embeddings.training import state
from embeddings.training.contract import Batch, Learner, TrainingData
from embeddings.training.loss import batch_loss, highest_scale
from embeddings.training.optimization import CachedGradients, Stepper
from embeddings.training.options import TrainingOptions
from embeddings.training.retrieval import HeldOut, Retrieval
from embeddings.training.towers import trainable

Row = dict[str, float]
STATE, LOG = "state.safetensors", "log.csv"
SHOWN = 50  # steps whose mean loss the progress bar shows


@dataclass(frozen=True)
class Course:
    learner: Learner
    data: TrainingData
    held_out: HeldOut
    options: TrainingOptions


@dataclass
class Standing:
    """How far a training is. All but the tensors: those are the learner's and the optimizers'."""

    step: int = 0
    position: int = 0  # in the order of the epoch
    rows: list[Row] = field(default_factory=list)  # of the log: before, then each epoch
    best_epoch: int = 0
    best_score: float = -1.0
    seconds: float = 0.0  # of the epoch under way

    @property
    def epoch(self) -> int:
        """How many epochs are over."""
        return len(self.rows) - 1


def begin(options: TrainingOptions) -> None:
    """Let all that follows in this process be the same each time. Comes before weights are made."""
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)


class Training:
    """A course under way in a folder, which keeps where it stands."""

    def __init__(self, course: Course, folder: Path) -> None:
        self._course, self._folder = course, folder
        self._options, self._learner = course.options, course.learner
        self._learner.to(self._options.device)
        self._parameters = dict(trainable(self._learner))
        self._batch_size = min(self._options.batch_size, len(course.data))
        self._steps_per_epoch = len(course.data) // self._batch_size
        self._stepper = Stepper(
            self._learner.optimizers(self._options.learning_rate),
            steps=self._steps_per_epoch * self._options.epochs,
            warm_up=self._options.warm_up,
        )
        self._highest_scale = highest_scale(self._learner, self._options.loss)
        self._random = Random(self._options.seed)
        self._order: list[int] = []
        self.losses: list[float] = []  # of every step
        self.standing = Standing()
        if (folder / STATE).exists():
            self._take_up()
        self._saved_at = time.monotonic()

    @property
    def is_over(self) -> bool:
        standing, patience = self.standing, self._options.patience
        is_stale = bool(patience) and standing.epoch - standing.best_epoch >= patience
        return standing.epoch >= self._options.epochs or is_stale

    def epochs(self) -> Iterator[Row]:
        """Yield the rows of the log that are still to come: before the first epoch, then of each.

        At the end the learner is as after the best epoch, or without patience after the last.
        """
        if not self.standing.rows:
            yield self._finish_epoch()
        while not self.is_over:
            self._learn()
            yield self._finish_epoch()
        if self._options.patience:
            tensors, _ = state.read(self._best_file(self.standing.best_epoch))
            self._restore(tensors)

    @property
    def kept(self) -> Row:
        """The row of the epoch whose weights are kept."""
        standing = self.standing
        return standing.rows[standing.best_epoch if self._options.patience else standing.epoch]

    def _learn(self) -> None:
        """Take the steps of an epoch that are not taken yet."""
        standing, size = self.standing, self._batch_size
        began = time.monotonic() - standing.seconds
        self._learner.train()
        if not self._order:
            self._order = self._course.data.order(self._random)
        starts = range(standing.position, len(self._order) - size + 1, size)
        title = f"epoch {standing.epoch + 1}/{self._options.epochs}"
        for start in (progress := tqdm(starts, title, disable=None)):
            batch = self._course.data.batch(self._order[start : start + size], self._random)
            self.losses.append(self._step(batch))
            standing.step += 1
            standing.position = start + size
            standing.seconds = time.monotonic() - began
            shown = self.losses[-SHOWN:]
            progress.set_postfix(loss=f"{sum(shown) / len(shown):.3f}")
            if time.monotonic() - self._saved_at >= self._options.save_seconds:
                self._save()

    def _step(self, batch: Batch) -> float:
        """Take the next step; return the loss before it."""
        number = self.standing.step
        try:
            loss = self._stepper.step(number, partial(self._add_gradients, batch)).item()
        except torch.OutOfMemoryError as error:
            raise TrainingFailed(
                "A batch is too large for the device's memory: name a --chunk-size, or a lower one."
            ) from error
        with torch.no_grad():
            # The scale itself and not what the loss sees of it: beyond a bound it would have no
            # gradient any more, and never come back.
            self._learner.scale.clamp_(max=self._highest_scale)
        if not math.isfinite(loss):
            raise TrainingFailed(
                f"The loss of step {number + 1:,} is no number: begin anew with --restart and a "
                "lower --learning-rate."
            )
        return loss

    def _add_gradients(self, batch: Batch) -> Tensor:
        """Add the gradients of a batch to the parameters, and return its loss."""
        learner, size = self._learner, self._options.chunk_size
        kind, truth = self._options.loss, batch.truth.to(self._options.device)
        pixels = batch.images.to(self._options.device)
        if not 0 < size < len(pixels):
            with self._casting():
                images, texts = learner.image_features(pixels), learner.text_features(batch.texts)
            loss = batch_loss(learner, kind, images, texts, truth)
            loss.backward()
            return loss
        cached = CachedGradients(self._casting)
        images = cached.features(
            partial(learner.image_features, some) for some in pixels.split(size)
        )
        texts = cached.features(
            partial(learner.text_features, batch.texts[start : start + size])
            for start in range(0, len(batch.texts), size)
        )
        loss = batch_loss(learner, kind, images, texts, truth)
        loss.backward()
        cached.hand_down()
        return loss

    def _casting(self) -> AbstractContextManager[None]:
        device = torch.device(self._options.device).type
        return torch.autocast(device, torch.bfloat16, enabled=self._options.precision == "bfloat16")

    def _finish_epoch(self) -> Row:
        """Measure, remember what is best, and save."""
        standing = self.standing
        retrieval = self._course.held_out.measure(self._learner)
        row = self._row(retrieval)
        standing.rows.append(row)
        before = standing.best_epoch
        if retrieval.score > standing.best_score:
            standing.best_epoch, standing.best_score = standing.epoch, retrieval.score
            if self._options.patience:
                state.write(self._best_file(standing.epoch), self._parameters, {})
        self._order, standing.position, standing.seconds = [], 0, 0.0
        self._save()
        if standing.best_epoch != before:
            # Only now: until the state was saved, the one before was the best that is known.
            self._best_file(before).unlink(missing_ok=True)
        return row

    def _row(self, retrieval: Retrieval) -> Row:
        losses = self.losses[-self._steps_per_epoch :]
        return {
            "epoch": len(self.standing.rows),
            "steps": self.standing.step,
            "seconds": round(self.standing.seconds, 1),
            "loss": sum(losses) / len(losses) if losses else math.nan,
            "learning rate share": self._stepper.share(max(self.standing.step - 1, 0)),
            "scale": self._learner.scale.exp().item(),
            **retrieval.figures(),
            "score": retrieval.score,
        }

    def _best_file(self, epoch: int) -> Path:
        return self._folder / f"best-{epoch}.safetensors"

    def _save(self) -> None:
        tensors = {
            **{f"learner/{name}": parameter for name, parameter in self._parameters.items()},
            **state.of_optimizers(self._stepper.optimizers),
            "order": torch.tensor(self._order, dtype=torch.long),
            "losses": torch.tensor(self.losses, dtype=torch.float64),
            "random": torch.get_rng_state(),
        }
        record = {**asdict(self.standing), "random": self._random.getstate()}
        state.write(self._folder / STATE, tensors, record)
        state.replace(self._folder / LOG, table(self.standing.rows).encode())
        self._saved_at = time.monotonic()

    def _take_up(self) -> None:
        tensors, record = state.read(self._folder / STATE)
        version, numbers, gauss = record.pop("random")
        self._random.setstate((version, tuple(numbers), gauss))
        self.standing = Standing(**record)
        self._restore({name.removeprefix("learner/"): one for name, one in tensors.items()})
        state.into_optimizers(self._stepper.optimizers, tensors)
        self._order = tensors["order"].tolist()
        self.losses = tensors["losses"].tolist()
        torch.set_rng_state(tensors["random"])

    @torch.no_grad()
    def _restore(self, tensors: state.Tensors) -> None:
        for name, parameter in self._parameters.items():
            parameter.copy_(tensors[name])


def table(rows: list[Row]) -> str:
    """The log as CSV."""
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return text.getvalue()
