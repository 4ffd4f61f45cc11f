"""Which optimizer moves which weights, and how fast."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Muon, Optimizer
from torch.optim.lr_scheduler import LambdaLR

LARGEST_GRADIENT = 1.0


class Stepper:
    """Takes the steps of one training, from a short warm-up down along a cosine.

    The matrices inside the towers are moved by Muon (Jordan et al. 2024): small transformers learn
    shapes several times sooner than with AdamW, which moves everything else.
    """

    def __init__(self, model: nn.Module, *, steps: int) -> None:
        matrices: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for name, parameter in model.named_parameters():
            is_inner_matrix = ".layers." in name and parameter.ndim == 2
            (matrices if is_inner_matrix else others).append(parameter)
        self._parameters = [*matrices, *others]
        self._optimizers: tuple[Optimizer, ...] = (
            Muon(matrices, lr=0.02, weight_decay=0.1),
            AdamW(others, lr=1e-3, betas=(0.9, 0.98), weight_decay=0.0),
        )
        share = partial(learning_rate_share, steps=steps)
        self._schedules = [LambdaLR(optimizer, share) for optimizer in self._optimizers]

    def step(self, loss: Tensor) -> None:
        for optimizer in self._optimizers:
            optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._parameters, LARGEST_GRADIENT)
        for optimizer, schedule in zip(self._optimizers, self._schedules, strict=True):
            optimizer.step()
            schedule.step()


def learning_rate_share(step: int, *, steps: int) -> float:
    """The share of the full learning rate at a step, from 0 to 1."""
    warm_up = max(steps // 20, 1)
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(steps - warm_up, 1)))
