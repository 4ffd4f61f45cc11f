"""Where a training stands, in one file that is there whole or not at all.

Tensors and JSON in the safetensors format: reading one runs no code.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.optim import Optimizer

from embeddings.errors import TrainingFailed

Tensors = Mapping[str, Tensor]


def write(path: Path, tensors: Tensors, record: Mapping[str, Any]) -> None:
    """Write tensors and what JSON holds in place of what the file held."""
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    new = _beside(path)
    save_file(whole, new, {"record": json.dumps(record)})
    _put(new, path)


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return what `write` wrote. Raise TrainingFailed where the file was damaged since."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dict
            return tensors, json.loads(file.metadata()["record"])
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise TrainingFailed(
            f"{path} is damaged: begin anew with --restart, or put it back."
        ) from error


def replace(path: Path, content: bytes) -> None:
    """Let a file have this content, or, when the machine stops meanwhile, the one before."""
    new = _beside(path)
    new.write_bytes(content)
    _put(new, path)


def sync_folder(folder: Path) -> None:
    """Make lasting which files a folder has."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.new")


def _put(new: Path, path: Path) -> None:
    with new.open("rb") as file:
        os.fsync(file.fileno())
    new.replace(path)
    sync_folder(path.parent)


def of_optimizers(optimizers: tuple[Optimizer, ...]) -> dict[str, Tensor]:
    """Return all that optimizers remember between two steps."""
    return {
        f"optimizer/{number}/{parameter}/{name}": torch.as_tensor(value)
        for number, optimizer in enumerate(optimizers)
        for parameter, remembered in optimizer.state_dict()["state"].items()
        for name, value in remembered.items()
    }


def into_optimizers(optimizers: tuple[Optimizer, ...], tensors: Tensors) -> None:
    """Give optimizers back what `of_optimizers` returned."""
    for number, optimizer in enumerate(optimizers):
        remembered: dict[int, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            if key.startswith(f"optimizer/{number}/"):
                _, _, parameter, name = key.split("/")
                remembered.setdefault(int(parameter), {})[name] = tensor
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": remembered, "param_groups": groups})
