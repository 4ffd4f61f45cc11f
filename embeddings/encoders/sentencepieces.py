"""Sentencepiece models as tokenizers of the `tokenizers` library, for folders that hold no other.

Two kinds are known: the one of XLM-RoBERTa and the one of SigLIP. In both the pieces are chosen by
the unigram model, which `tokenizers` runs too.
"""

from __future__ import annotations

import re
import string
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import import_protobuf

_UNIGRAM = 1  # sentencepiece's own number
_CLASSES = {"XLMRobertaTokenizer", "SiglipTokenizer"}


def converted(file: Path, class_name: str, said: dict[str, Any]) -> PreTrainedTokenizerFast:
    """Return a tokenizer that gives the ids which that class gives with a sentencepiece model.

    `said` is its configuration. Raise ValueError for another class or another kind of model.
    """
    if class_name not in _CLASSES:
        raise ValueError(
            f"its tokenizer is a sentencepiece model of {class_name or 'an unknown class'}, which "
            "cannot be turned into a tokenizer.json: put one beside it"
        )
    proto = import_protobuf().ModelProto()
    try:
        proto.ParseFromString(file.read_bytes())
    except DecodeError as error:
        raise ValueError(f"{file.name} is no sentencepiece model") from error
    if proto.trainer_spec.model_type != _UNIGRAM:
        raise ValueError(f"{file.name} is no unigram model: put a tokenizer.json beside it")
    pieces = [(piece.piece, piece.score) for piece in proto.pieces]
    if class_name == "SiglipTokenizer":
        tokenizer = _of_siglip(proto, pieces)
        special = {"unk_token": "<unk>", "eos_token": "</s>", "pad_token": "</s>"}
        inputs = ["input_ids"]
    else:
        tokenizer = _of_xlm_roberta(proto, pieces)
        special = {"unk_token": "<unk>", "pad_token": "<pad>"}
        special |= {"bos_token": "<s>", "eos_token": "</s>"}
        inputs = ["input_ids", "attention_mask"]
    longest = said.get("model_max_length") or 64
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_input_names=said.get("model_input_names") or inputs,
        model_max_length=longest,
        **special,
    )


def canonical() -> normalizers.Normalizer:
    """Return what makes texts those that SigLIP was trained with: small letters, no punctuation."""
    return normalizers.Sequence(
        [
            normalizers.Lowercase(),
            normalizers.Replace(Regex(f"[{re.escape(string.punctuation)}]"), ""),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Strip(),
        ]
    )


def _of_siglip(proto: Any, pieces: list[tuple[str, float]]) -> Tokenizer:
    unigram = models.Unigram(
        pieces, unk_id=proto.trainer_spec.unk_id, byte_fallback=proto.trainer_spec.byte_fallback
    )
    tokenizer = Tokenizer(unigram)
    tokenizer.normalizer = normalizers.Sequence([canonical(), *_charsmap(proto), _one_space()])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    eos = [piece for piece, _ in pieces].index("</s>")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", eos)]
    )
    return tokenizer


def _of_xlm_roberta(proto: Any, pieces: list[tuple[str, float]]) -> Tokenizer:
    # Its ids are those of another library: four tokens before all pieces but the first three.
    before = [(token, 0.0) for token in ("<s>", "<pad>", "</s>", "<unk>")]
    tokenizer = Tokenizer(models.Unigram([*before, *pieces[3:], ("<mask>", 0.0)], unk_id=3))
    tokenizer.normalizer = normalizers.Sequence([*_charsmap(proto), _one_space()])
    words = [
        pre_tokenizers.WhitespaceSplit(),
        pre_tokenizers.Metaspace(prepend_scheme="always"),
    ]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(words)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return tokenizer


def _charsmap(proto: Any) -> list[normalizers.Normalizer]:
    """Return the model's own table of characters that stand for others."""
    table = proto.normalizer_spec.precompiled_charsmap
    return [normalizers.Precompiled(table)] if table else []


def _one_space() -> normalizers.Normalizer:
    return normalizers.Replace(Regex(" {2,}"), " ")
