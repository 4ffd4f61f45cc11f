"""What a training is made of: who learns, from what, and how it is going."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol

from torch import Tensor, nn
from torch.optim import Optimizer

from embeddings.training.checkpoint import Checkpoint


@dataclass(frozen=True)
class Batch:
    images: Tensor  # (images, ...), as the learner takes them
    texts: list[str]
    truth: Tensor  # (texts, images), bool


class TrainingData(Protocol):
    """Images and texts, and which texts are true of which images."""

    def __len__(self) -> int: ...

    def order(self, random: Random) -> list[int]:
        """Return the numbers of all images, in the order of one epoch."""
        ...

    def batch(self, chosen: Sequence[int], random: Random) -> Batch:
        """Return some images by their numbers, augmented, with texts for them."""
        ...


class Learner(nn.Module, ABC):
    """What is trained. Its trainable parameters are what `named_parameters` gives a gradient."""

    @abstractmethod
    def image_features(self, images: Tensor) -> Tensor: ...

    @abstractmethod
    def text_features(self, texts: Sequence[str]) -> Tensor: ...

    @property
    @abstractmethod
    def scale(self) -> Tensor:
        """The logarithm of what cosines are multiplied by."""

    @property
    @abstractmethod
    def bias(self) -> Tensor | None:
        """What the sigmoid loss adds to them; NaN: not chosen yet; None: there is none."""

    @abstractmethod
    def optimizers(self, learning_rate: float | None) -> tuple[Optimizer, ...]:
        """Return what moves its parameters; None: as fast as suits it."""

    @abstractmethod
    def checkpoint(self) -> Checkpoint:
        """Return what was learnt, as any loader takes it. The learner stays as it is."""
