"""A matrix behind each tower, trained on vectors that were computed once: seconds, not hours.

Towers end in a matrix themselves, so what was learnt becomes part of that one, and the folder is
an encoder like any other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from embeddings.errors import TrainingFailed
from embeddings.training.checkpoint import Checkpoint
from embeddings.training.contract import Learner
from embeddings.training.options import Loss
from embeddings.vectors import Vectors

LEARNING_RATE = 1e-3
# Towards no change at all: of few images a matrix would learn each by heart.
WEIGHT_DECAY = 1.0
FIRST_SCALE = 3.0  # logarithm: cosines times 20


class Adapter(Learner):
    """Images are vectors here, and texts are known with their vectors beforehand."""

    def __init__(
        self, start: Checkpoint, vectors: Vectors, row_by_text: Mapping[str, int], loss: Loss
    ) -> None:
        super().__init__()
        self.start = start
        self._row_by_text = row_by_text
        self.register_buffer("vectors", torch.from_numpy(vectors), persistent=False)
        self.vectors: Tensor
        width = vectors.shape[1]
        # What is added to the identity: decay of weights then means decay to no change.
        self.text_change = nn.Parameter(torch.zeros(width, width))
        self.image_change: nn.Parameter | None = None
        if image_projection(start.parts.model) is not None:
            self.image_change = nn.Parameter(torch.zeros(width, width))
        self._scale = nn.Parameter(torch.tensor(FIRST_SCALE))
        self._bias = nn.Parameter(torch.tensor(torch.nan)) if loss is Loss.SIGMOID else None

    @property
    def scale(self) -> Tensor:
        return self._scale

    @property
    def bias(self) -> Tensor | None:
        return self._bias

    def image_features(self, images: Tensor) -> Tensor:
        return images if self.image_change is None else images + images @ self.image_change.T

    def text_features(self, texts: Sequence[str]) -> Tensor:
        vectors = self.vectors[[self._row_by_text[text] for text in texts]]
        return vectors + vectors @ self.text_change.T

    def optimizers(self, learning_rate: float | None) -> tuple[Optimizer, ...]:
        matrices = [self.text_change]
        if self.image_change is not None:
            matrices.append(self.image_change)
        others = [one for one in (self._scale, self._bias) if one is not None]
        groups = [
            {"params": matrices, "weight_decay": WEIGHT_DECAY},
            {"params": others, "weight_decay": 0.0},
        ]
        return (AdamW(groups, lr=LEARNING_RATE if learning_rate is None else learning_rate),)

    def checkpoint(self) -> Checkpoint:
        model = deepcopy(self.start.parts.model)
        _fold(self.text_change, text_projection(model))
        image = image_projection(model)
        if self.image_change is not None and image is not None:
            _fold(self.image_change, image)
        return self.start.with_model(model)


def image_projection(model: Any) -> nn.Linear | None:
    """The matrix that the image tower ends in; None: it ends otherwise, as that of SigLIP does."""
    projection = getattr(model, "visual_projection", None)
    return projection if isinstance(projection, nn.Linear) else None


def text_projection(model: Any) -> nn.Linear:
    """The matrix that the text tower ends in. Raise TrainingFailed where there is none."""
    for projection in (
        getattr(model, "text_projection", None),
        getattr(getattr(model, "text_model", None), "head", None),
    ):
        if isinstance(projection, nn.Linear):
            return projection
    raise TrainingFailed(
        f"The text tower of {type(model).__name__} does not end in a matrix that an adapter could "
        "become part of: use another method."
    )


@torch.no_grad()
def _fold(change: Tensor, projection: nn.Linear) -> None:
    change = change.detach().to(projection.weight)
    projection.weight.add_(change @ projection.weight)
    if projection.bias is not None:
        projection.bias.add_(change @ projection.bias)
