"""The tokenizer of an encoder's folder, as one of the `tokenizers` library.

What was saved for another library (vocab.txt, vocab.json with merges.txt, a sentencepiece model)
is turned into one here, when an encoder is exported, so that a process that serves needs no other.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, normalizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from embeddings.encoders import folders, sentencepieces
from embeddings.encoders.layout import TOKENIZER_FILE

_CONFIG = "tokenizer_config.json"
_FEWEST = 32  # tokens of a vocabulary
_SIGLIP, _GEMMA, _XLM_ROBERTA = "SiglipTokenizer", "GemmaTokenizer", "XLMRobertaTokenizer"
# What transformers takes for folders that do not say.
_USUAL = {
    "siglip": _SIGLIP,
    **dict.fromkeys(
        ("altclip", "metaclip_2", "xlm-roberta", folders.MULTILINGUAL_CLIP), _XLM_ROBERTA
    ),
}


def of(folder: Path, model_type: str) -> Any:
    """Return what transformers makes of a folder, on a `backend_tokenizer` that says the same.

    Raise ValueError for what has none, and whatever foreign parsers raise.
    """
    class_name = _class_name(folder, model_type)
    tokenizer: Any
    if not (folder / TOKENIZER_FILE).is_file() and (models := sorted(folder.glob("*.model"))):
        tokenizer = sentencepieces.converted(models[0], class_name, _said(folder))
    elif class_name == _SIGLIP:
        # Its own class runs sentencepiece; the file beside it says the same to `tokenizers`.
        tokenizer = PreTrainedTokenizerFast.from_pretrained(str(folder))
    else:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ValueError(f"its {type(tokenizer).__name__} is not one of the tokenizers library")
    if class_name == _SIGLIP:
        _drop_punctuation(backend)
    elif model_type == "siglip" and class_name == _GEMMA:
        # SigLIP 2 was trained on lower case, which its folders do not say.
        put_before(backend, normalizers.Lowercase())
    return tokenizer


def check(tokenizer: Any, embedded: int) -> None:
    """Raise ValueError unless the tokenizer's ids are those that a text tower embeds."""
    backend = tokenizer.backend_tokenizer
    if backend.get_vocab_size() < _FEWEST:
        # transformers makes an empty one, with special tokens alone, where it misses files.
        raise ValueError(
            f"its tokenizer knows {backend.get_vocab_size()} tokens: files are missing"
        )
    highest = max(backend.get_vocab(with_added_tokens=False).values())
    if highest >= embedded:
        raise ValueError(f"its tokenizer has the id {highest:,}, and it knows {embedded:,} tokens")


def put_before(tokenizer: Tokenizer, first: Any) -> None:
    """Let a tokenizer change texts in another way before all that it does to them."""
    others = [] if tokenizer.normalizer is None else [tokenizer.normalizer]
    tokenizer.normalizer = normalizers.Sequence([first, *others])


def _drop_punctuation(tokenizer: Tokenizer) -> None:
    """Have it read texts as SigLIP was trained to: small letters, no punctuation."""
    if tokenizer.encode("A red, RED boat!").ids != tokenizer.encode("a red red boat").ids:
        put_before(tokenizer, sentencepieces.canonical())


def _class_name(folder: Path, model_type: str) -> str:
    """Return the class that was written for, or the usual one of such a model."""
    said = str(_said(folder).get("tokenizer_class") or "").removesuffix("Fast")
    return said or _USUAL.get(model_type, "")


def _said(folder: Path) -> dict[str, Any]:
    return folders.read_json(folder / _CONFIG) if (folder / _CONFIG).is_file() else {}
