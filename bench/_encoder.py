"""Write a full-size encoder with random weights: its speed and memory are those of a real one.

.venv/bin/python -m bench._encoder FOLDER [SHAPE]
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, CLIPConfig, CLIPModel, SiglipConfig, SiglipModel

from embeddings.encoders.sources import BUNDLED_FOLDER

VIT_B_32 = "ViT-B/32"
_LARGE_TEXT = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12}
_LARGE = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24,
          "num_attention_heads": 16, "patch_size": 14}  # fmt: skip
# Of each: what differs from CLIPConfig's defaults, which are ViT-B/32, in texts and in images.
SHAPES: Mapping[str, tuple[dict[str, Any], dict[str, Any]]] = {
    VIT_B_32: ({}, {}),
    "ViT-B/16": ({}, {"patch_size": 16}),
    "ViT-L/14": (_LARGE_TEXT, _LARGE),
    "ViT-L/14-336": (_LARGE_TEXT, _LARGE | {"image_size": 336}),
    "SigLIP B/16": ({}, {}),  # its own defaults
}


def write(folder: Path, shape: str = VIT_B_32, *, seed: int = 0) -> None:
    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(BUNDLED_FOLDER)
    ends = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    # The bundled tokenizer uses the first of the tower's words.
    text, image = SHAPES[shape]
    if shape.startswith("SigLIP"):
        SiglipModel(SiglipConfig(text_config=text | ends)).save_pretrained(folder)
        processor: dict[str, Any] = {"image_processor_type": "SiglipImageProcessor"}
        processor["size"] = {"height": 224, "width": 224}
    else:
        width = 768 if text else 512
        config = CLIPConfig(text_config=text | ends, vision_config=image, projection_dim=width)
        CLIPModel(config).save_pretrained(folder)
        edge = image.get("image_size", 224)
        processor = {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": edge}}
        processor["crop_size"] = {"height": edge, "width": edge}
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(BUNDLED_FOLDER / name, folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))


if __name__ == "__main__":
    write(Path(sys.argv[1]), *sys.argv[2:3])
