"""Text towers that stand alone: of sentence-transformers, and of Multilingual-CLIP.

Each is a transformer whose tokens are pooled to one vector and put through linear layers. They were
trained to give the vectors that CLIP gives, in more languages; images are encoded by that CLIP.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from tokenizers import normalizers
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig

from embeddings.encoders import folders, vocabularies
from embeddings.encoders.folders import Kind, Module
from embeddings.encoders.parts import LONGEST, Texts, check_numbers, text_options
from embeddings.encoders.tokens import IDS, MASK

_HEAD_WIDTH = 64  # of the transformers that Multilingual-CLIP is built on, all of them
_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "Identity": nn.Identity, "Tanh": nn.Tanh, "ReLU": nn.ReLU, "GELU": nn.GELU,
}  # fmt: skip


class SentenceTower(nn.Module):
    """Token arrays to features."""

    def __init__(self, transformer: nn.Module, *, is_mean: bool, head: nn.Sequential) -> None:
        super().__init__()
        self.transformer, self.is_mean, self.head = transformer, is_mean, head
        self.eval()

    def get_text_features(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return (n, dimensions): of each text the mean of its tokens, or its first."""
        output = self.transformer(input_ids=input_ids, attention_mask=attention_mask)
        tokens = output.last_hidden_state
        if self.is_mean:
            mask = attention_mask.unsqueeze(-1).to(tokens.dtype)
            pooled = (tokens * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1e-9)
        else:
            pooled = tokens[:, 0]
        return self.head(pooled)  # type: ignore[no-any-return]  # modules are untyped


class _Normalised(nn.Module):
    def forward(self, vectors: Tensor) -> Tensor:
        return nn.functional.normalize(vectors, dim=1)


def read(folder: Path) -> Texts:
    """Load a text tower. Raise ValueError for what is none of the two kinds."""
    if folders.kind_of(folder) == Kind.M_CLIP:
        return _of_multilingual_clip(folder)
    return _of_sentence_transformers(folder)


def _of_sentence_transformers(folder: Path) -> Texts:
    root = folders.root_of(folder)
    config = AutoConfig.from_pretrained(str(root), trust_remote_code=False)
    transformer, report = AutoModel.from_pretrained(
        str(root),
        use_safetensors=True,
        trust_remote_code=False,
        dtype=torch.float32,
        output_loading_info=True,
    )
    # A pooler is not asked, and not always saved.
    if missing := [key for key in report["missing_keys"] if not key.startswith("pooler.")]:
        raise ValueError(f"its checkpoint lacks {len(missing)} weights")
    first, *others = folders.modules_of(folder)
    if first.type != "Transformer" or not others or others[0].type != "Pooling":
        raise ValueError("its first modules are not a transformer and a pooling")
    tower = SentenceTower(
        transformer,
        is_mean=_is_mean(others[0]),
        head=nn.Sequential(*(_layer(module) for module in others[1:])),
    )
    return _texts(folder, tower, config)


def _is_mean(pooling: Module) -> bool:
    """Tell the mean of all tokens from the first one. Raise ValueError for anything else."""
    said = folders.read_json(pooling.folder / folders.CONFIG)
    # Each once a switch of its own, now one name.
    chosen = {
        name.removeprefix("pooling_mode_").removesuffix("_tokens").removesuffix("_token")
        for name, value in said.items()
        if name.startswith("pooling_mode_") and value is True
    } or {str(said.get("pooling_mode"))}
    if chosen not in ({"mean"}, {"cls"}):
        raise ValueError(f"it pools tokens in a way that is not known: {', '.join(sorted(chosen))}")
    return chosen == {"mean"}


def _layer(module: Module) -> nn.Module:
    if module.type == "Normalize":
        return _Normalised()
    if module.type != "Dense":
        raise ValueError(f"its module {module.type} is not known")
    said = folders.read_json(module.folder / folders.CONFIG)
    activation = str(said.get("activation_function")).rpartition(".")[2]
    if activation not in _ACTIVATIONS:
        raise ValueError(f"its layer's activation {activation} is not known")
    if not (module.folder / "model.safetensors").is_file():
        raise ValueError(f"{module.folder.name} has no safetensors, and other weights are not read")
    weights = load_file(module.folder / "model.safetensors")
    linear = _linear({name.removeprefix("linear."): value for name, value in weights.items()})
    return nn.Sequential(linear, _ACTIVATIONS[activation]())


def _of_multilingual_clip(folder: Path) -> Texts:
    """Its configuration names a transformer on the hub; the weights tell all of it that counts."""
    said = folders.read_json(folder / folders.CONFIG)
    weights: dict[str, Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        weights |= load_file(file)
    inner = _below(weights, "transformer.")
    config = _base_config(str(said.get("modelBase")), inner)
    transformer = AutoModel.from_config(config)
    lacking, _ = transformer.load_state_dict(inner, strict=False)
    if missing := [key for key in lacking if not key.startswith("pooler.")]:
        raise ValueError(f"its checkpoint lacks {len(missing)} weights")
    head = nn.Sequential(_linear(_below(weights, "LinearTransformation.")))
    return _texts(folder, SentenceTower(transformer, is_mean=True, head=head), config)


def _base_config(base: str, weights: Mapping[str, Tensor]) -> PreTrainedConfig:
    """Return the configuration of the transformer that such weights are of."""
    try:
        vocabulary, width = weights["embeddings.word_embeddings.weight"].shape
        positions = weights["embeddings.position_embeddings.weight"].shape[0]
        types = weights["embeddings.token_type_embeddings.weight"].shape[0]
        inside = weights["encoder.layer.0.intermediate.dense.weight"].shape[0]
    except KeyError as error:
        raise ValueError(f"its transformer {base} is of no known kind") from error
    layers = {name.split(".")[2] for name in weights if name.startswith("encoder.layer.")}
    options: dict[str, Any] = {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": inside,
        "num_hidden_layers": len(layers),
        "num_attention_heads": max(width // _HEAD_WIDTH, 1),
        "max_position_embeddings": positions,
        "type_vocab_size": types,
    }
    if "xlm-roberta" not in base.lower():
        return AutoConfig.for_model("bert", **options)
    options |= {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "layer_norm_eps": 1e-5}
    return AutoConfig.for_model("xlm-roberta", **options)


def _texts(folder: Path, tower: SentenceTower, config: Any) -> Texts:
    check_numbers(tower)
    root = folders.root_of(folder)
    tokenizer = vocabularies.of(root, config.model_type)
    vocabularies.check(tokenizer, config.vocab_size)
    said: dict[str, Any] = {}
    if (folder / "sentence_bert_config.json").is_file():
        said = folders.read_json(folder / "sentence_bert_config.json")
    if said.get("do_lower_case"):
        vocabularies.put_before(tokenizer.backend_tokenizer, normalizers.Lowercase())
    # RoBERTa counts positions from behind the id that pads.
    is_roberta = "roberta" in config.model_type
    positions = config.max_position_embeddings - (config.pad_token_id + 1 if is_roberta else 0)
    longest = min(int(said.get("max_seq_length") or LONGEST), positions)
    options = replace(text_options(tokenizer, positions=longest), inputs=(IDS, MASK))
    return Texts(tower, tokenizer.backend_tokenizer, options)


def _linear(weights: Mapping[str, Tensor]) -> nn.Linear:
    if "weight" not in weights:
        raise ValueError("its checkpoint lacks the weights of a linear layer")
    inside, outside = weights["weight"].shape[1], weights["weight"].shape[0]
    linear = nn.Linear(inside, outside, bias="bias" in weights)
    linear.load_state_dict(dict(weights))
    return linear


def _below(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in weights.items()
        if name.startswith(prefix)
    }
