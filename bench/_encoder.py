"""Write a full-size ViT-B/32 with random weights: its speed and memory are those of a real one.

.venv/bin/python -m bench._encoder FOLDER
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import torch
from transformers import AutoTokenizer, CLIPConfig, CLIPModel

from embeddings.encoders.sources import BUNDLED_FOLDER

PREPROCESSING = {
    "image_processor_type": "CLIPImageProcessor",
    "size": {"shortest_edge": 224},
    "crop_size": {"height": 224, "width": 224},
}


def write(folder: Path) -> None:
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(BUNDLED_FOLDER)
    ends = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    # CLIPConfig's defaults are ViT-B/32; the bundled tokenizer uses the first of its 49,408 words.
    CLIPModel(CLIPConfig(text_config=ends)).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(BUNDLED_FOLDER / name, folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSING))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
