"""Two towers of one's own sizes, and how they look at an image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, PreTrainedTokenizerFast

CENTRE, SPREAD = 0.5, 0.5  # of a pixel's value from 0 to 1, for normalising


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """Sizes of the two towers."""

    side: int = 96  # pixels
    patch: int = 12  # pixels
    image_width: int = 192
    image_layers: int = 4
    text_width: int = 128
    text_layers: int = 3
    dimensions: int = 256
    longest_text: int = 48  # tokens


def new_processor(architecture: Architecture) -> CLIPImageProcessorPil:
    side = architecture.side
    return CLIPImageProcessorPil(
        size={"height": side, "width": side},
        default_to_square=True,
        do_center_crop=False,  # squashed and not cropped: nothing at the edge is lost
        crop_size=None,
        image_mean=[CENTRE] * 3,
        image_std=[SPREAD] * 3,
    )


def new_model(architecture: Architecture, tokenizer: PreTrainedTokenizerFast) -> CLIPModel:
    """A model with random weights."""
    config = CLIPConfig(
        text_config={
            **_tower(architecture.text_width, architecture.text_layers),
            "projection_dim": architecture.dimensions,
            "max_position_embeddings": architecture.longest_text,
            "vocab_size": len(tokenizer),
            "pad_token_id": tokenizer.pad_token_id,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
        },
        vision_config={
            **_tower(architecture.image_width, architecture.image_layers),
            "projection_dim": architecture.dimensions,
            "image_size": architecture.side,
            "patch_size": architecture.patch,
        },
        projection_dim=architecture.dimensions,
    )
    # Backwards, torch's fused attention is slower on a CPU than the plain one, by half.
    model: CLIPModel = CLIPModel._from_config(config, attn_implementation="eager")
    positions = model.vision_model.embeddings.position_embedding.weight
    with torch.no_grad():  # the first position is no patch but the class token
        positions[1:] = _grid_waves(architecture.side // architecture.patch, positions.shape[1])
    return model


def _grid_waves(cells: int, width: int) -> Tensor:
    """Sines and cosines of every cell's row and column, of shape (cells * cells, width).

    Where each patch lies is known from the start and need not be learned (Beyer et al. 2022,
    "Better plain ViT baselines for ImageNet-1k").
    """
    rows, columns = torch.meshgrid(torch.arange(cells), torch.arange(cells), indexing="ij")
    frequencies = 100.0 ** -torch.linspace(0, 1, width // 4 + 1)[:-1]
    angles = [place.reshape(-1, 1) * frequencies for place in (rows, columns)]
    return torch.cat([wave for angle in angles for wave in (angle.sin(), angle.cos())], dim=1)


def _tower(width: int, layers: int) -> dict[str, int | str]:
    return {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_attention_heads": width // 64,
        "num_hidden_layers": layers,
        "hidden_act": "gelu",
    }
