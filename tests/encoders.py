"""Tiny encoders with random weights, one of each architecture, and transformers' own answer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from PIL.Image import Image as Pixels
from transformers import (
    AutoImageProcessor,
    AutoModel,
    AutoTokenizer,
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPVisionConfig,
    PreTrainedModel,
    SiglipConfig,
    SiglipModel,
    VisionTextDualEncoderConfig,
    VisionTextDualEncoderModel,
)

from embeddings.encoders.sources import BUNDLED_FOLDER
from embeddings.vectors import Vectors

TOWER = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}


def make_encoder(kind: str, folder: Path) -> Path:
    """Write an encoder folder: the bundled tokenizer, a small image tower, random weights."""
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(BUNDLED_FOLDER)
    text = {
        **TOWER, "vocab_size": len(tokenizer), "max_position_embeddings": 40,
        "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }  # fmt: skip
    image = {**TOWER, "image_size": 32, "patch_size": 16}
    model: PreTrainedModel
    if kind == "clip":
        model = CLIPModel(CLIPConfig(text_config=text, vision_config=image, projection_dim=24))
    elif kind == "siglip":
        model = SiglipModel(SiglipConfig(text_config=text, vision_config=image))
    else:
        towers = (CLIPVisionConfig.from_dict(image), CLIPTextConfig.from_dict(text))
        model = VisionTextDualEncoderModel(
            VisionTextDualEncoderConfig.from_vision_text_configs(*towers, projection_dim=24)
        )
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(BUNDLED_FOLDER / name, folder)
    size = {"height": 32, "width": 32}
    processor = {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 32}}
    if kind == "siglip":
        processor = {"image_processor_type": "SiglipImageProcessor", "size": size}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor | {"crop_size": size}))
    return folder


def reference(folder: Path, images: list[Pixels], texts: list[str]) -> tuple[Vectors, Vectors]:
    """Return what transformers computes, each text alone, padded as the encoder was trained."""
    model = AutoModel.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    is_siglip = "siglip" in model.config.model_type
    options = {"padding": "max_length", "max_length": 40} if is_siglip else {}
    with torch.no_grad():
        pixels = processor(images, return_tensors="pt")
        image_features = model.get_image_features(**pixels).pooler_output
        text_features = torch.cat(
            [
                model.get_text_features(
                    **tokenizer(text, return_tensors="pt", **options)
                ).pooler_output
                for text in texts
            ]
        )
    normalised = torch.nn.functional.normalize
    return normalised(image_features).numpy(), normalised(text_features).numpy()
