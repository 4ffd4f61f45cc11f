"""Files of small tokenizers of every kind that encoders' folders hold, made on the spot.

Each function writes its files into a folder and returns what a text tower's configuration says of
the ids. All of them know the words and letters of `WORDS`.
"""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers.convert_slow_tokenizer import import_protobuf

WORDS = ("two", "red", "boats", "at", "night", "a", "boat", "sea")
HAN = "北京船"
XLM_ROBERTA_IDS = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
_SPACE = "▁"
# sentencepiece's numbers: pieces that are plain, unknown, control.
_NORMAL, _UNKNOWN, _CONTROL, _UNIGRAM = 1, 2, 3, 1


def word_pieces(folder: Path) -> dict[str, Any]:
    """BERT's: vocab.txt and no more."""
    folder.mkdir(parents=True, exist_ok=True)
    letters = string.ascii_lowercase
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *HAN]
    tokens += [letter for letter in letters if letter not in tokens]
    tokens += [f"##{letter}" for letter in letters]
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n")
    return {"vocab_size": len(tokens), "pad_token_id": 0}


def clip_merges(folder: Path) -> dict[str, Any]:
    """CLIP's: vocab.json and merges.txt, letters joined to words from the left."""
    folder.mkdir(parents=True, exist_ok=True)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*letters, *(f"{letter}</w>" for letter in letters)]
    merges: list[str] = []
    for word in (word for word in WORDS if len(word) > 1):
        pieces = [*word[:-1], f"{word[-1]}</w>"]
        joined = pieces[0]
        for piece in pieces[1:]:
            merges.append(f"{joined} {piece}")
            joined += piece
            tokens.append(joined)
    merges, tokens = list(dict.fromkeys(merges)), list(dict.fromkeys(tokens))
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    ids = {token: number for number, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(ids))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    start, end = len(tokens) - 2, len(tokens) - 1
    return {"vocab_size": len(tokens), "bos_token_id": start, "eos_token_id": end}


def sentencepiece(folder: Path, class_name: str) -> dict[str, Any]:
    """XLM-RoBERTa's or SigLIP's: a sentencepiece model of unigrams and no more."""
    folder.mkdir(parents=True, exist_ok=True)
    is_siglip = class_name == "SiglipTokenizer"
    proto = import_protobuf().ModelProto()
    proto.trainer_spec.model_type = _UNIGRAM
    proto.normalizer_spec.add_dummy_prefix = True
    special = ["<pad>", "</s>", "<unk>"] if is_siglip else ["<unk>", "<s>", "</s>"]
    for token in special:
        kind = _UNKNOWN if token == "<unk>" else _CONTROL
        proto.pieces.add(piece=token, score=0.0, type=kind)
    proto.trainer_spec.unk_id = special.index("<unk>")
    plain = [_SPACE, *string.ascii_letters, *string.punctuation, *HAN]
    for number, piece in enumerate([*(_SPACE + word for word in WORDS), *WORDS[:-2], *plain]):
        proto.pieces.add(piece=piece, score=-1.0 - number / 8, type=_NORMAL)
    name = "spiece.model" if is_siglip else "sentencepiece.bpe.model"
    (folder / name).write_bytes(proto.SerializeToString())
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": class_name}))
    # XLM-RoBERTa's ids begin one later, and end with one for what is masked.
    size = len(proto.pieces) + (0 if is_siglip else 2)
    return {"vocab_size": size, **({} if is_siglip else XLM_ROBERTA_IDS)}


def gemma(folder: Path) -> dict[str, Any]:
    """Gemma's, as SigLIP 2 has it: tokenizer.json, which tells large letters from small ones."""
    folder.mkdir(parents=True, exist_ok=True)
    plain = [_SPACE, *string.ascii_letters, *string.punctuation, *HAN]
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    ids = {token: number for number, token in enumerate([*special, *plain])}
    tokenizer = Tokenizer(models.BPE(ids, [], unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Replace(" ", _SPACE)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <eos>", special_tokens=[("<eos>", 1)]
    )
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in special])
    tokenizer.save(str(folder / "tokenizer.json"))
    said = {"tokenizer_class": "GemmaTokenizer", "padding_side": "right", "add_bos_token": False,
            "add_eos_token": True, "model_input_names": ["input_ids"], "pad_token": "<pad>",
            "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"}  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(said))
    return {"vocab_size": len(ids), "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 1}
