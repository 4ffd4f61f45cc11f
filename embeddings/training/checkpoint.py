"""An encoder's parts, and the folder they are kept in."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer, PreTrainedModel

from embeddings.encoders.sources import Source
from embeddings.errors import TrainingFailed

LONGEST = 512  # tokens
# What a folder says about texts and pixels. It is copied as it is, whatever wrote it.
_SIDE_FILES = {".json", ".txt", ".model"}
_WRITTEN_ANEW = {"config.json", "model.safetensors.index.json"}


@dataclass(frozen=True)
class Checkpoint:
    model: PreTrainedModel
    tokenizer: Any
    processor: Any
    base: Path | None = None  # the folder it was loaded from

    def tokens(self, texts: Sequence[str]) -> Any:
        """Return texts as the text tower takes them, cut to its length."""
        config = self.model.config
        tower = getattr(config, "text_config", config)
        longest = getattr(tower, "max_position_embeddings", None) or self.tokenizer.model_max_length
        return self.tokenizer(
            list(texts),
            # SigLIP was trained with every text padded to full length, and reads no other.
            padding="max_length" if "siglip" in config.model_type else True,
            truncation=True,
            max_length=min(int(longest), LONGEST),
            return_tensors="pt",
        )

    def save(self, folder: Path) -> None:
        """Write the folder that `AutoModel` and its kin load.

        What was trained from scratch is stored as float16, half as large; else nothing of the
        base is rounded.
        """
        if self.base is None:
            stored = deepcopy(self.model).half()
            stored.save_pretrained(folder)
            # What is stored in half precision is meant to run in full.
            stored.config.dtype = torch.float32
            stored.config.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)
            self.processor.save_pretrained(folder)
            return
        self.model.save_pretrained(folder)
        for file in self.base.iterdir():
            if file.suffix in _SIDE_FILES and file.name not in _WRITTEN_ANEW and file.is_file():
                shutil.copyfile(file, folder / file.name)


def load(source: Source) -> Checkpoint:
    """Return the parts of an encoder, in float32. Raise TrainingFailed where one is missing.

    Weights are read from safetensors only, and no code of the folder is run.
    """
    folder = str(source.folder)
    try:
        model, report = AutoModel.from_pretrained(
            folder,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            output_loading_info=True,
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        processor = AutoImageProcessor.from_pretrained(
            folder, trust_remote_code=False, backend="pil"
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise TrainingFailed(f"{source.name} is no encoder to begin with: {error}") from error
    if missing := report["missing_keys"]:
        raise TrainingFailed(f"{source.name} lacks {len(missing)} weights.")
    for feature in ("get_image_features", "get_text_features"):
        if not hasattr(model, feature):
            raise TrainingFailed(f"{type(model).__name__} does not encode both images and texts.")
    return Checkpoint(model, tokenizer, processor, source.folder)
