"""Folders that open_clip saved: open_clip_config.json beside open_clip_model.safetensors.

Those of plain vision transformers, most of them, are read as transformers' CLIP, whose weights have
other names. All others need open_clip itself, which is not installed with the rest.
"""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL.Image import Resampling
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoTokenizer, CLIPConfig, CLIPModel, CLIPTokenizer

from embeddings.encoders import folders, sentencepieces, vocabularies
from embeddings.encoders.framing import Framing
from embeddings.encoders.parts import Channels, Images, Texts, check_numbers, text_options
from embeddings.encoders.tokens import IDS

_CONTEXT, _VOCABULARY = 77, 49_408  # tokens, where a configuration does not say
_MEAN, _SPREAD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
# What may be said of the plain ones; of these, `init_` and `custom_text` change no vector.
_PLAIN = {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu", "custom_text", "init_logit_scale",
          "init_logit_bias"}  # fmt: skip
_PLAIN_IMAGES = {"image_size", "layers", "width", "patch_size", "head_width", "mlp_ratio"}
_PLAIN_TEXTS = {"context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio"}
# They scale similarities, or are made anew, and change no vector.
_NO_MATTER = ("logit_", "attn_mask")
_RESAMPLES = {"bilinear": Resampling.BILINEAR}
_NAMES = {
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
}
# Of a block's weights: open_clip's name and transformers'.
_BLOCK = {
    "ln_1": "layer_norm1", "ln_2": "layer_norm2", "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2",
}  # fmt: skip


class OpenClip(nn.Module):
    """A model that open_clip made, asked as one of transformers is."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.eval()

    def get_image_features(self, pixel_values: Tensor) -> Tensor:
        return self.model.encode_image(pixel_values)  # type: ignore[operator,no-any-return]  # a method

    def get_text_features(self, input_ids: Tensor) -> Tensor:
        return self.model.encode_text(input_ids)  # type: ignore[operator,no-any-return]  # a method

    def num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())


def images(folder: Path) -> Images:
    """Load an encoder for its image tower, and for its text tower if that is wanted too."""
    model = _load(folder)
    size = _config(folder)["vision_cfg"].get("image_size", 224)
    height, width = size if isinstance(size, list) else (size, size)
    said = folders.read_json(folder / folders.OPEN_CLIP_CONFIG).get("preprocess_cfg") or {}
    mean, spread = _channels(said.get("mean"), _MEAN), _channels(said.get("std"), _SPREAD)
    mode = said.get("resize_mode") or "shortest"
    if mode == "longest" or (mode == "shortest" and height != width):
        raise ValueError(f"it prepares images in an unknown way: {mode}, {width} x {height}")
    red, green, blue = (int(value) for value in np.rint(mean * 255))
    framing = Framing(
        width=width,
        height=height,
        shorter=height if mode == "shortest" else 0,
        resample=_RESAMPLES.get(said.get("interpolation", ""), Resampling.BICUBIC),
        bars=(red, green, blue),
    )
    return Images(
        model, framing, scale=np.reciprocal(spread * np.float32(255)), shift=mean / spread
    )


def _channels(said: Any, usual: tuple[float, float, float]) -> Channels:
    """Return what is said of the three colours, in one number or in three."""
    return np.broadcast_to(np.asarray(said or usual, np.float32), 3)


def texts(folder: Path, model: Any = None) -> Texts:
    """Return its text tower; `model` is what `images` has loaded."""
    said = _config(folder)["text_cfg"]
    model = _load(folder) if model is None else model
    if said.get("hf_tokenizer_name"):
        tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
        if (said.get("tokenizer_kwargs") or {}).get("clean") == "canonicalize":
            vocabularies.put_before(tokenizer.backend_tokenizer, sentencepieces.canonical())
    else:
        tokenizer = CLIPTokenizer.from_pretrained(str(folder))
    if "hf_model_name" not in said:  # whose own configuration says it
        vocabularies.check(tokenizer, said.get("vocab_size", _VOCABULARY))
    options = text_options(
        tokenizer,
        positions=said.get("context_length", _CONTEXT),
        pads_fully=not isinstance(model, CLIPModel),  # open_clip's own take nothing shorter
    )
    pad_id = options.pad_id if said.get("hf_tokenizer_name") else 0
    options = replace(options, inputs=(IDS,), pad_id=pad_id)  # its towers take no mask
    return Texts(model, tokenizer.backend_tokenizer, options)


def _config(folder: Path) -> dict[str, Any]:
    said = folders.read_json(folder / folders.OPEN_CLIP_CONFIG).get("model_cfg")
    if not isinstance(said, dict) or not {"embed_dim", "vision_cfg", "text_cfg"} <= said.keys():
        raise ValueError(f"its {folders.OPEN_CLIP_CONFIG} says nothing of a model")
    return said


def _load(folder: Path) -> nn.Module:
    config = _config(folder)
    if not (folder / folders.OPEN_CLIP_WEIGHTS).is_file():
        raise ValueError(f"it has no {folders.OPEN_CLIP_WEIGHTS}; only safetensors are read")
    weights = load_file(folder / folders.OPEN_CLIP_WEIGHTS)
    model = _plain(config, weights) if _is_plain(config) else _foreign(config, weights)
    check_numbers(model)
    return model.eval()


def _is_plain(config: dict[str, Any]) -> bool:
    return (
        config.keys() <= _PLAIN
        and config["vision_cfg"].keys() <= _PLAIN_IMAGES
        and config["text_cfg"].keys() <= _PLAIN_TEXTS
        and isinstance(config["vision_cfg"].get("layers", 12), int)
    )


def _foreign(config: dict[str, Any], weights: dict[str, Tensor]) -> nn.Module:
    if importlib.util.find_spec("open_clip") is None:
        raise ValueError(
            "its architecture is one of open_clip's own: install requirements-open-clip.txt"
        )
    from open_clip.model import CLIP, CustomTextCLIP

    text = config["text_cfg"]
    is_custom = config.get("custom_text") or "hf_model_name" in text
    options = {name: value for name, value in config.items() if name != "custom_text"}
    if "hf_model_name" in text:  # its weights are among ours
        options["text_cfg"] = text | {"hf_model_pretrained": False}
    if "timm_model_name" in config["vision_cfg"]:
        options["vision_cfg"] = config["vision_cfg"] | {"timm_model_pretrained": False}
    try:
        model = (CustomTextCLIP if is_custom else CLIP)(**options)
    except TypeError as error:  # it captions too, or is made otherwise
        raise ValueError(f"open_clip's {error}") from error
    _fill(model, weights)
    return OpenClip(model)


def _plain(config: dict[str, Any], weights: dict[str, Tensor]) -> nn.Module:
    """Return it as transformers' CLIP, which computes the same."""
    vision, text = config["vision_cfg"], config["text_cfg"]
    act = "quick_gelu" if config.get("quick_gelu") else "gelu"
    width, text_width = vision.get("width", 768), text.get("width", 512)
    model = CLIPModel(
        CLIPConfig(
            projection_dim=config["embed_dim"],
            vision_config={
                "hidden_size": width,
                "intermediate_size": int(width * vision.get("mlp_ratio", 4)),
                "num_hidden_layers": vision.get("layers", 12),
                "num_attention_heads": width // vision.get("head_width", 64),
                "image_size": vision.get("image_size", 224),
                "patch_size": vision.get("patch_size", 16),
                "hidden_act": act,
            },
            text_config={
                "hidden_size": text_width,
                "intermediate_size": int(text_width * text.get("mlp_ratio", 4)),
                "num_hidden_layers": text.get("layers", 12),
                "num_attention_heads": text.get("heads", 8),
                "vocab_size": text.get("vocab_size", _VOCABULARY),
                "max_position_embeddings": text.get("context_length", _CONTEXT),
                "hidden_act": act,
                # So that the highest id is looked at, as open_clip does.
                "eos_token_id": 2,
            },
        )
    )
    _fill(model, _renamed(weights))
    return model


def _fill(model: nn.Module, weights: dict[str, Tensor]) -> None:
    try:
        lacking, unknown = model.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        raise ValueError(
            f"its weights are of other sizes than {folders.OPEN_CLIP_CONFIG} says"
        ) from error
    if missing := [name for name in lacking if not name.startswith(_NO_MATTER)]:
        raise ValueError(f"its checkpoint lacks {len(missing)} weights")
    if unknown := [name for name in unknown if not name.startswith(_NO_MATTER)]:
        raise ValueError(
            f"its checkpoint holds {len(unknown)} weights of which {folders.OPEN_CLIP_CONFIG} "
            "says nothing"
        )


def _renamed(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    named: dict[str, Tensor] = {}
    for name, value in weights.items():
        name = name.removeprefix("text.")  # where its text tower is a module of its own
        if name == "visual.proj":
            named["visual_projection.weight"] = value.T
        elif name == "text_projection":
            named["text_projection.weight"] = value.T
        elif "resblocks." in name:
            named |= _block(name, value)
        else:
            named[_NAMES.get(name, name)] = value
    return named


def _block(name: str, value: Tensor) -> dict[str, Tensor]:
    """Return the weights of a block that one of open_clip's stands for."""
    before, _, after = name.partition("resblocks.")
    number, _, rest = after.partition(".")
    tower = "vision_model" if before.startswith("visual.") else "text_model"
    stem = f"{tower}.encoder.layers.{number}"
    if rest.startswith("attn.in_proj_"):
        kind = rest.removeprefix("attn.in_proj_")
        parts = zip(("q", "k", "v"), torch.chunk(value, 3), strict=True)
        return {f"{stem}.self_attn.{one}_proj.{kind}": part for one, part in parts}
    module, _, kind = rest.rpartition(".")
    return {f"{stem}.{_BLOCK.get(module, module)}.{kind}": value}
