"""Training the towers of an encoder themselves, or the part of them that a method names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Muon, Optimizer

from embeddings.encoders.parts import features_of
from embeddings.encoders.tokens import Tokens
from embeddings.errors import TrainingFailed
from embeddings.training import lora
from embeddings.training.checkpoint import Checkpoint
from embeddings.training.contract import Learner
from embeddings.training.options import Base, Loss, Method

TEXTS_AT_ONCE = 128
# The gentler, the more of what the base knows is moved.
LEARNING_RATES = {Method.WHOLE: 1e-5, Method.LAST: 1e-4, Method.LORA: 5e-4}
MUON_LEARNING_RATE, SCRATCH_LEARNING_RATE = 0.02, 1e-3
WEIGHT_DECAY = 0.05
BETAS = (0.9, 0.98)
_LAYER = re.compile(r"(.*\.layers?)\.(\d+)\.")
# What follows the last layer of a tower, and what the loss has of its own.
_BEHIND_LAYERS = ("post_layernorm", "final_layer_norm", "projection", "head", "pooler", "logit_")


class Towers(Learner):
    def __init__(self, start: Checkpoint, base: Base, loss: Loss) -> None:
        super().__init__()
        # Of many classes, which have their features and the scale in common.
        self.model: Any = start.parts.model
        self.start = start
        self._tokens = Tokens(start.parts.tokenizer, start.parts.text_options)
        self._method = base.method
        if base.method is Method.LAST:
            _freeze_but_last(self.model, base.last_layers)
        if base.method is Method.LORA:
            self._adapted = lora.add(self.model, rank=base.rank)
        self._own_bias: nn.Parameter | None = None
        if loss is Loss.SIGMOID and not hasattr(self.model, "logit_bias"):
            self._own_bias = nn.Parameter(torch.tensor(torch.nan))

    @property
    def scale(self) -> Tensor:
        scale: Tensor = self.model.logit_scale
        return scale

    @property
    def bias(self) -> Tensor | None:
        bias: Tensor | None = getattr(self.model, "logit_bias", self._own_bias)
        return bias

    def image_features(self, images: Tensor) -> Tensor:
        return features_of(self.model.get_image_features(pixel_values=images))

    def text_features(self, texts: Sequence[str]) -> Tensor:
        """Return them in the order of the texts, which are read by length: padding is work."""
        order = sorted(range(len(texts)), key=lambda k: texts[k].count(" "))
        features = []
        for start in range(0, len(order), TEXTS_AT_ONCE):
            some = [texts[k] for k in order[start : start + TEXTS_AT_ONCE]]
            tokens = {
                name: torch.from_numpy(values).to(self.model.device)
                for name, values in self._tokens.arrays(some).items()
            }
            features.append(features_of(self.model.get_text_features(**tokens)))
        places = torch.empty(len(order), dtype=torch.long)
        places[order] = torch.arange(len(order))
        return torch.cat(features)[places]

    def optimizers(self, learning_rate: float | None) -> tuple[Optimizer, ...]:
        if self._method is Method.SCRATCH:
            return _from_scratch(self, learning_rate)
        decayed: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for _, parameter in trainable(self):
            (decayed if parameter.ndim >= 2 else others).append(parameter)
        groups = [
            {"params": decayed, "weight_decay": WEIGHT_DECAY},
            {"params": others, "weight_decay": 0.0},
        ]
        rate = LEARNING_RATES[self._method] if learning_rate is None else learning_rate
        return (AdamW([group for group in groups if group["params"]], lr=rate, betas=BETAS),)

    def checkpoint(self) -> Checkpoint:
        is_lora = self._method is Method.LORA
        model = lora.merged(self._adapted) if is_lora else deepcopy(self.model)
        return self.start.with_model(model)


def trainable(learner: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield the parameters that are trained, by name."""
    for name, parameter in learner.named_parameters():
        if parameter.requires_grad:
            yield name, parameter


def _from_scratch(learner: nn.Module, learning_rate: float | None) -> tuple[Optimizer, ...]:
    """The matrices inside the towers are moved by Muon (Jordan et al. 2024).

    Small transformers learn shapes several times sooner with it than with AdamW, which moves
    everything else. `learning_rate` is that of AdamW; Muon's stands in the same proportion to it.
    """
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in trainable(learner):
        is_inner_matrix = ".layers." in name and parameter.ndim == 2
        (matrices if is_inner_matrix else others).append(parameter)
    factor = 1.0 if learning_rate is None else learning_rate / SCRATCH_LEARNING_RATE
    return (
        Muon(matrices, lr=MUON_LEARNING_RATE * factor, weight_decay=0.1),
        AdamW(others, lr=SCRATCH_LEARNING_RATE * factor, betas=BETAS, weight_decay=0.0),
    )


def _freeze_but_last(model: nn.Module, count: int) -> None:
    """Leave trainable the last layers of each tower, and what comes behind them."""
    number_by_name = {
        name: (found[1], int(found[2]))
        for name, _ in model.named_parameters()
        if (found := _LAYER.match(name))
    }
    if not number_by_name:
        raise TrainingFailed(
            f"{type(model).__name__} has no layers to choose the last of: use another method."
        )
    layers: dict[str, int] = {}
    for tower, number in number_by_name.values():
        layers[tower] = max(layers.get(tower, 0), number + 1)
    for name, parameter in model.named_parameters():
        tower, number = number_by_name.get(name, ("", 0))
        is_last = tower and number >= layers[tower] - count
        is_behind = not tower and any(part in name for part in _BEHIND_LAYERS)
        parameter.requires_grad_(bool(is_last or is_behind))
