"""An encoder that is trained, and the folder it is kept in."""

from __future__ import annotations

import shutil
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from embeddings.encoders import folders, reading
from embeddings.encoders.framing import Manner
from embeddings.encoders.parts import Parts
from embeddings.encoders.sources import Source
from embeddings.errors import EncoderUnavailable, TrainingFailed
from embeddings.training import state

# What a folder says about texts and pixels. It is copied as it is, whatever wrote it.
_SIDE_FILES = {".json", ".txt", ".model"}
_NOT_COPIED = {
    *(folders.CONFIG, "model.safetensors.index.json"),  # written anew
    # Of sentence-transformers: it names the folder of the base that the files are in.
    folders.MODULES,
}


@dataclass(frozen=True)
class Checkpoint:
    parts: Parts
    base: Path | None = None  # the folder that its files were in
    beside: tuple[Any, ...] = ()  # tokenizer and processor, of one that comes from no folder

    def with_model(self, model: PreTrainedModel) -> Checkpoint:
        """Return the same with other weights."""
        return replace(self, parts=replace(self.parts, model=model.cpu()))

    def save(self, folder: Path) -> None:
        """Write the folder that `AutoModel` and its kin load.

        What was trained from scratch is stored as float16, half as large; else nothing of the
        base is rounded.
        """
        with state.told_when_unwritable(folder):
            self._save(folder)

    def _save(self, folder: Path) -> None:
        if self.base is None:
            stored = deepcopy(self.parts.model).half()
            stored.save_pretrained(folder)
            # What is stored in half precision is meant to run in full.
            stored.config.dtype = torch.float32
            for part in (stored.config, *self.beside):
                part.save_pretrained(folder)
            return
        self.parts.model.save_pretrained(folder)
        for file in self.base.iterdir():
            if file.suffix in _SIDE_FILES and file.name not in _NOT_COPIED and file.is_file():
                shutil.copyfile(file, folder / file.name)


def load(source: Source) -> Checkpoint:
    """Return an encoder in float32. Raise TrainingFailed where it is none, or none that trains."""
    is_one = source.text_folder is None and source.manner == Manner.TRAINED
    if not is_one or folders.is_of_open_clip(source.folder):
        raise TrainingFailed(
            f"{source.name} cannot be trained further: only one encoder in transformers' layout, "
            "without #letterbox or #crops, can be."
        )
    try:
        return Checkpoint(reading.read(source.folder), folders.root_of(source.folder))
    except EncoderUnavailable as error:
        raise TrainingFailed(f"There is nothing to begin with. {error}") from error


def new(model: PreTrainedModel, tokenizer: Any, processor: Any) -> Checkpoint:
    """Return one that was made just now."""
    return Checkpoint(reading.parts_of(model, tokenizer, processor), beside=(tokenizer, processor))
