"""Steps: how large each is, and gradients of batches that do not fit into memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import torch
from torch import Tensor
from torch.optim import Optimizer

LARGEST_GRADIENT = 1.0


class Stepper:
    """Takes the steps of one training, from a short warm-up down along a cosine."""

    def __init__(self, optimizers: tuple[Optimizer, ...], *, steps: int, warm_up: float) -> None:
        self.optimizers = optimizers
        groups = [group for one in optimizers for group in one.param_groups]
        self._parameters = [parameter for group in groups for parameter in group["params"]]
        self._steps, self._warm_up = steps, max(int(steps * warm_up), 1)
        self._highest = [[group["lr"] for group in one.param_groups] for one in optimizers]

    def share(self, step: int) -> float:
        """The share of the full learning rate at a step."""
        return learning_rate_share(step, steps=self._steps, warm_up=self._warm_up)

    def step(self, number: int, add_gradients: Callable[[], Tensor]) -> Tensor:
        """Take the step of this number, the first is 0; return the loss before it."""
        for optimizer, rates in zip(self.optimizers, self._highest, strict=True):
            optimizer.zero_grad()
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * self.share(number)
        loss = add_gradients()
        torch.nn.utils.clip_grad_norm_(self._parameters, LARGEST_GRADIENT)
        for optimizer in self.optimizers:
            optimizer.step()
        return loss


def learning_rate_share(step: int, *, steps: int, warm_up: int) -> float:
    """The share of the full learning rate at a step, from 0 to 1."""
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(steps - warm_up, 1)))


class CachedGradients:
    """Gradients of a loss over a whole batch, by forward passes that hold a part of it.

    Features are computed twice: first without a graph, for the loss and its gradient by features;
    then part by part, to hand that gradient down. The sum is the gradient of the whole batch, but
    for rounding (Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size under Memory
    Limited Setup").
    """

    def __init__(self, casting: Callable[[], AbstractContextManager[None]]) -> None:
        self._casting = casting
        self._parts: list[tuple[Callable[[], Tensor], list[Tensor], Tensor]] = []

    def features(self, parts: Iterator[Callable[[], Tensor]]) -> Tensor:
        """Return the features of all parts; the loss is computed of these."""
        leaves = []
        for compute in parts:
            random = _random_numbers()
            with torch.no_grad(), self._casting():
                leaf = compute().float().requires_grad_()
            self._parts.append((compute, random, leaf))
            leaves.append(leaf)
        return torch.cat(leaves)

    def hand_down(self) -> None:
        """After the loss went backwards: let it go on, through every part."""
        after = _random_numbers()
        for compute, random, leaf in self._parts:
            _set_random_numbers(random)  # what was dropped at random is dropped again
            with self._casting():
                features = compute()
            assert leaf.grad is not None, "the loss depends on all features"
            features.backward(leaf.grad.to(features.dtype))
        _set_random_numbers(after)


def _random_numbers() -> list[Tensor]:
    """Where the random numbers of processor and GPUs stand."""
    # A GPU that is not used is not woken: that takes half a gigabyte of its memory.
    of_gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return [torch.get_rng_state(), *of_gpus]


def _set_random_numbers(states: list[Tensor]) -> None:
    torch.set_rng_state(states[0])
    if states[1:]:
        torch.cuda.set_rng_state_all(states[1:])
