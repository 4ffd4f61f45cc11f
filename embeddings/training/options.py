"""How a training goes."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from embeddings.training.architecture import Architecture


class Loss(StrEnum):
    CONTRASTIVE = "contrastive"
    SIGMOID = "sigmoid"


class Method(StrEnum):
    """Which weights are trained."""

    SCRATCH = "scratch"  # all, from random ones
    WHOLE = "whole"  # all, from those of a base
    LAST = "last"  # those of the last layers
    LORA = "lora"  # a correction of low rank beside each matrix of attention
    ADAPTER = "adapter"  # a matrix behind each tower, which is frozen


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """The defaults made the bundled encoder."""

    epochs: int = 12
    seed: int = 0
    batch_size: int = 64  # images that are told apart at once
    chunk_size: int = 0  # of these, how many a forward pass holds; 0: all
    loss: Loss = Loss.CONTRASTIVE
    learning_rate: float | None = None  # None: as suits the method
    warm_up: float = 0.05  # share of the steps
    precision: str = "bfloat16"  # or float32
    patience: int = 0  # epochs without a better one before it ends; 0: all, and the last is kept
    threads: int = 2
    device: str = "cpu"
    save_seconds: float = 300.0  # between two savings within an epoch


@dataclass(frozen=True, kw_only=True)
class Base:
    """What a training begins with."""

    method: Method = Method.SCRATCH
    encoder: str = ""  # name of an encoder; empty from scratch
    architecture: Architecture = field(default_factory=Architecture)  # for SCRATCH
    last_layers: int = 2  # of each tower, for LAST
    rank: int = 8  # for LORA
