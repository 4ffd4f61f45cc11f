"""Tiny encoders with random weights, one of each architecture, and what transformers makes of them.

All of their files are made here, tokenizers included: no network, and nothing of the encoder's own
code but the bundled tokenizer.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image as Pixels
from safetensors.torch import load_file, save_file
from transformers import (
    AltCLIPConfig,
    AltCLIPModel,
    AutoImageProcessor,
    AutoModel,
    AutoTokenizer,
    ChineseCLIPConfig,
    ChineseCLIPModel,
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPVisionConfig,
    DistilBertConfig,
    DistilBertModel,
    MetaClip2Config,
    MetaClip2Model,
    PreTrainedModel,
    SiglipConfig,
    SiglipModel,
    VisionTextDualEncoderConfig,
    VisionTextDualEncoderModel,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from embeddings.encoders.sources import BUNDLED_FOLDER
from embeddings.vectors import Vectors
from tests import tokenizer_files

Inner = dict[str, Any]

WIDTH = 24  # dimensions of the vectors
TOWER: Inner = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
IMAGE: Inner = {**TOWER, "image_size": 32, "patch_size": 16}
SQUARE = {"height": 32, "width": 32}
CUT: Inner = {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 32},
       "crop_size": SQUARE}  # fmt: skip
# As Chinese-CLIP's own folder says it.
SQUASHED: Inner = {"feature_extractor_type": "ChineseCLIPFeatureExtractor", "size": SQUARE,
            "do_center_crop": False}  # fmt: skip
SIGLIP: Inner = {"image_processor_type": "SiglipImageProcessor", "size": SQUARE}


def make_encoder(kind: str, folder: Path) -> Path:
    """Write the folder of a kind that encodes both images and texts; return it."""
    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    model, processor = MAKERS[kind](folder)
    model.save_pretrained(folder)
    write_json(folder / "preprocessor_config.json", processor)
    return folder


def _clip(folder: Path) -> tuple[PreTrainedModel, Inner]:
    text = bundled_tokenizer(folder)
    config = CLIPConfig(text_config=text, vision_config=IMAGE, projection_dim=WIDTH)
    return CLIPModel(config), CUT


def _siglip(folder: Path) -> tuple[PreTrainedModel, Inner]:
    text = bundled_tokenizer(folder)
    return SiglipModel(SiglipConfig(text_config=text, vision_config=IMAGE)), SIGLIP


def _siglip2(folder: Path) -> tuple[PreTrainedModel, Inner]:
    text = {**TOWER, "max_position_embeddings": 24, **tokenizer_files.gemma(folder)}
    return SiglipModel(SiglipConfig(text_config=text, vision_config=IMAGE)), SIGLIP


def _dual(folder: Path) -> tuple[PreTrainedModel, Inner]:
    text = bundled_tokenizer(folder)
    towers = (CLIPVisionConfig.from_dict(IMAGE), CLIPTextConfig.from_dict(text))
    config = VisionTextDualEncoderConfig.from_vision_text_configs(*towers, projection_dim=WIDTH)
    return VisionTextDualEncoderModel(config), CUT


def _chinese_clip(folder: Path) -> tuple[PreTrainedModel, Inner]:
    text = {**TOWER, "max_position_embeddings": 40, **tokenizer_files.word_pieces(folder)}
    config = ChineseCLIPConfig(text_config=text, vision_config=IMAGE, projection_dim=WIDTH)
    return ChineseCLIPModel(config), SQUASHED


def _alt_clip(folder: Path) -> tuple[PreTrainedModel, Inner]:
    ids = tokenizer_files.sentencepiece(folder, "XLMRobertaTokenizer")
    text = {**TOWER, "max_position_embeddings": 514, "project_dim": WIDTH, **ids}
    config = AltCLIPConfig(text_config=text, vision_config=IMAGE, projection_dim=WIDTH)
    return AltCLIPModel(config), CUT


def _meta_clip_2(folder: Path) -> tuple[PreTrainedModel, Inner]:
    ids = tokenizer_files.sentencepiece(folder, "XLMRobertaTokenizer")
    text = {**TOWER, "max_position_embeddings": 40, **ids}
    config = MetaClip2Config(text_config=text, vision_config=IMAGE, projection_dim=WIDTH)
    return MetaClip2Model(config), CUT


MAKERS: dict[str, Callable[[Path], tuple[PreTrainedModel, Inner]]] = {
    "clip": _clip,
    "siglip": _siglip,
    "dual": _dual,
    "siglip 2": _siglip2,
    "Chinese-CLIP": _chinese_clip,
    "AltCLIP": _alt_clip,
    "MetaCLIP 2": _meta_clip_2,
}


def make_sentence_tower(folder: Path) -> Path:
    """Write a text tower as sentence-transformers does: DistilBERT, mean, one layer."""
    torch.manual_seed(1)
    ids = tokenizer_files.word_pieces(folder)
    config = DistilBertConfig(
        dim=32, hidden_dim=64, n_layers=2, n_heads=2, max_position_embeddings=40, **ids
    )
    DistilBertModel(config).save_pretrained(folder)
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Dense", "Dense")]
    write_json(
        folder / "modules.json",
        [
            {"idx": n, "name": str(n), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for n, (path, kind) in enumerate(modules)
        ],
    )
    write_json(
        folder / "1_Pooling" / "config.json",
        {"word_embedding_dimension": 32, "pooling_mode_cls_token": False,
         "pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": False},
    )  # fmt: skip
    write_json(
        folder / "2_Dense" / "config.json",
        {"in_features": 32, "out_features": WIDTH, "bias": False,
         "activation_function": "torch.nn.modules.linear.Identity"},
    )  # fmt: skip
    save_file({"linear.weight": torch.randn(WIDTH, 32)}, folder / "2_Dense" / "model.safetensors")
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 20, "do_lower_case": False})
    return folder


def sentence_reference(folder: Path, texts: list[str]) -> Vectors:
    """Return what sentence-transformers computes: each text alone, mean, layer, unit length."""
    model = DistilBertModel.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    layer = torch.nn.Linear(32, WIDTH, bias=False)
    layer.weight.data = load_file(folder / "2_Dense" / "model.safetensors")["linear.weight"]
    vectors = []
    with torch.no_grad():
        for text in texts:
            tokens = tokenizer(text, truncation=True, max_length=20, return_tensors="pt")
            output = model(tokens["input_ids"], tokens["attention_mask"])
            vectors.append(layer(output.last_hidden_state.mean(dim=1)))
    return torch.nn.functional.normalize(torch.cat(vectors)).numpy()


def make_m_clip_tower(folder: Path) -> Path:
    """Write a text tower as Multilingual-CLIP does: XLM-R by its name alone, mean, one layer."""
    torch.manual_seed(2)
    ids = tokenizer_files.sentencepiece(folder, "XLMRobertaTokenizer")
    model = XLMRobertaModel(_xlm_roberta(ids))
    weights = {f"transformer.{name}": value for name, value in model.state_dict().items()}
    weights |= {"LinearTransformation.weight": torch.randn(WIDTH, 64),
                "LinearTransformation.bias": torch.randn(WIDTH)}  # fmt: skip
    weights.pop("transformer.embeddings.position_ids", None)
    save_file(weights, folder / "model.safetensors")
    write_json(
        folder / "config.json",
        {"modelBase": "xlm-roberta-large", "model_type": "M-CLIP", "numDims": WIDTH,
         "transformerDimensions": 64},
    )  # fmt: skip
    return folder


def m_clip_reference(folder: Path, tokens: list[list[int]], vocabulary: int) -> Vectors:
    """Return what Multilingual-CLIP computes for texts by their ids, each alone."""
    weights = load_file(folder / "model.safetensors")
    ids = {"vocab_size": vocabulary, **tokenizer_files.XLM_ROBERTA_IDS}
    model = XLMRobertaModel(_xlm_roberta(ids)).eval()
    named = {name.removeprefix("transformer."): value for name, value in weights.items()}
    model.load_state_dict({k: v for k, v in named.items() if not k.startswith("Linear")})
    vectors = []
    with torch.no_grad():
        for one in tokens:
            mean = model(torch.tensor([one])).last_hidden_state.mean(dim=1)
            vectors.append(
                mean @ weights["LinearTransformation.weight"].T
                + weights["LinearTransformation.bias"]
            )
    return torch.nn.functional.normalize(torch.cat(vectors)).numpy()


def _xlm_roberta(ids: Inner) -> XLMRobertaConfig:
    # Its heads are 64 wide, as those of all of its sizes.
    return XLMRobertaConfig(
        **TOWER | {"hidden_size": 64, "num_attention_heads": 1},
        max_position_embeddings=40,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
        **ids,
    )


def make_open_clip(folder: Path, *, is_custom: bool = False) -> tuple[Path, CLIPModel]:
    """Write a folder as open_clip does; return it and transformers' model of the same weights."""
    torch.manual_seed(3)
    ids = tokenizer_files.clip_merges(folder)
    vocabulary = ids["vocab_size"]
    text = {**TOWER, "intermediate_size": 128, "max_position_embeddings": 20, "hidden_act": "gelu"}
    image = {**IMAGE, "intermediate_size": 128, "hidden_act": "gelu"}
    config = CLIPConfig(text_config=text | ids, vision_config=image, projection_dim=WIDTH)
    model = CLIPModel(config).eval()
    save_file(open_clip_weights(model, is_custom=is_custom), folder / "open_clip_model.safetensors")
    write_json(
        folder / "open_clip_config.json",
        {
            "model_cfg": {
                "embed_dim": WIDTH,
                "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "patch_size": 16,
                               "head_width": 16},
                "text_cfg": {"context_length": 20, "vocab_size": vocabulary, "width": 32,
                             "heads": 2, "layers": 2},
                **({"custom_text": True} if is_custom else {}),
            },
            "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5],
                               "interpolation": "bicubic", "resize_mode": "shortest"},
        },
    )  # fmt: skip
    return folder, model


def open_clip_weights(model: CLIPModel, *, is_custom: bool) -> dict[str, torch.Tensor]:
    """Return the weights of transformers' CLIP by open_clip's names."""
    text, vision = model.text_model, model.vision_model
    named = {
        "logit_scale": model.logit_scale,
        "positional_embedding": text.embeddings.position_embedding.weight,
        "token_embedding.weight": text.embeddings.token_embedding.weight,
        "ln_final.weight": text.final_layer_norm.weight,
        "ln_final.bias": text.final_layer_norm.bias,
        "text_projection": model.text_projection.weight.T,
        "visual.class_embedding": vision.embeddings.class_embedding,
        "visual.positional_embedding": vision.embeddings.position_embedding.weight,
        "visual.conv1.weight": vision.embeddings.patch_embedding.weight,
        "visual.ln_pre.weight": vision.pre_layrnorm.weight,
        "visual.ln_pre.bias": vision.pre_layrnorm.bias,
        "visual.ln_post.weight": vision.post_layernorm.weight,
        "visual.ln_post.bias": vision.post_layernorm.bias,
        "visual.proj": model.visual_projection.weight.T,
    }
    for prefix, encoder in (("", text.encoder), ("visual.", vision.encoder)):
        for n, layer in enumerate(encoder.layers):
            stem, attention = f"{prefix}transformer.resblocks.{n}", layer.self_attn
            three = (attention.q_proj, attention.k_proj, attention.v_proj)
            named[f"{stem}.attn.in_proj_weight"] = torch.cat([one.weight for one in three])
            named[f"{stem}.attn.in_proj_bias"] = torch.cat([one.bias for one in three])
            for theirs, module in (
                ("attn.out_proj", attention.out_proj), ("ln_1", layer.layer_norm1),
                ("ln_2", layer.layer_norm2), ("mlp.c_fc", layer.mlp.fc1),
                ("mlp.c_proj", layer.mlp.fc2),
            ):  # fmt: skip
                named[f"{stem}.{theirs}.weight"] = module.weight
                named[f"{stem}.{theirs}.bias"] = module.bias
    return {
        name if not is_custom or name.startswith(("visual.", "logit_")) else f"text.{name}": (
            value.detach().clone().contiguous()
        )
        for name, value in named.items()
    }


def bundled_tokenizer(folder: Path) -> Inner:
    """Copy the bundled tokenizer into a folder; return the configuration of a tower for it."""
    tokenizer = AutoTokenizer.from_pretrained(BUNDLED_FOLDER)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(BUNDLED_FOLDER / name, folder)
    return {
        **TOWER, "vocab_size": len(tokenizer), "max_position_embeddings": 40,
        "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }  # fmt: skip


def write_json(file: Path, said: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(said))


def read_json(file: Path) -> Any:
    return json.loads(file.read_text())


def image_reference(folder: Path, images: list[Pixels]) -> Vectors:
    """Return what transformers computes."""
    model = AutoModel.from_pretrained(folder).eval()
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    with torch.no_grad():
        features = model.get_image_features(**processor(images, return_tensors="pt"))
    return torch.nn.functional.normalize(features.pooler_output).numpy()


def text_reference(folder: Path, texts: list[str]) -> Vectors:
    """Return the same of texts, each alone, padded as the encoder was trained."""
    model = AutoModel.from_pretrained(folder).eval()
    return features_of_ids(model, ids_of(folder, texts))


def ids_of(folder: Path, texts: list[str]) -> list[dict[str, torch.Tensor]]:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    config = read_json(folder / "config.json")
    options = {}
    if config["model_type"] == "siglip":
        longest = config["text_config"]["max_position_embeddings"]
        options = {"padding": "max_length", "max_length": longest}
    return [dict(tokenizer(text, return_tensors="pt", **options)) for text in texts]


def features_of_ids(model: Any, tokens: list[dict[str, torch.Tensor]]) -> Vectors:
    with torch.no_grad():
        found = [model.get_text_features(**one).pooler_output for one in tokens]
    return torch.nn.functional.normalize(torch.cat(found)).numpy()


def reference(folder: Path, images: list[Pixels], texts: list[str]) -> tuple[Vectors, Vectors]:
    """Return what transformers computes of both."""
    return image_reference(folder, images), text_reference(folder, texts)
