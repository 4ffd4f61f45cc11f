"""Where a training stands, in one file that is there whole or not at all.

Tensors and JSON in the safetensors format: reading one runs no code.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
    with told_when_unwritable(path), _written_beside(path) as new:
        save_file(whole, new, {"record": json.dumps(record)})


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
    with told_when_unwritable(path), _written_beside(path) as new:
        new.write_bytes(content)


@contextmanager
def told_when_unwritable(path: Path) -> Iterator[None]:
    """Raise TrainingFailed where the block cannot write: it says what to do then."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise TrainingFailed(
            f"{path} cannot be written: {reason}. Once it can be, the same command goes on from "
            "what was saved last."
        ) from error


def sync_folder(folder: Path) -> None:
    """Make lasting which files a folder has."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _written_beside(path: Path) -> Iterator[Path]:
    """Give where to write, and let it take the place of the file once it is on the disk.

    Where that fails nothing of it stays: a disk that is full need not be fuller.
    """
    new = path.with_name(f"{path.name}.new")
    try:
        yield new
        with new.open("rb") as file:
            os.fsync(file.fileno())
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
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
