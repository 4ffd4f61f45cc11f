"""Texts as a text tower reads them: by the `tokenizers` library alone, which takes microseconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

TokenArrays = dict[str, NDArray[np.int64]]  # each (n, length), by the name of the tower's input

IDS, MASK, TYPES = "input_ids", "attention_mask", "token_type_ids"


@dataclass(frozen=True, kw_only=True)
class TextOptions:
    """How a text tower was trained to be given texts."""

    longest: int  # tokens; a longer text is cut
    pads_fully: bool  # each text to `longest`, else those of one batch to the longest of them
    pads_left: bool
    pad_id: int
    unknown_id: int | None
    inputs: tuple[str, ...]  # of IDS, MASK and TYPES, those it takes

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> Self:
        """Return what `to_json` was called on."""
        return cls(**said | {"inputs": tuple(said["inputs"])})

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Tokens:
    """A tokenizer. It keeps no state between two calls, so threads may share it."""

    def __init__(self, tokenizer: Tokenizer, options: TextOptions) -> None:
        tokenizer.no_padding()  # ours: that of the library is one setting for all threads
        tokenizer.enable_truncation(options.longest)
        self._tokenizer = tokenizer
        self._options = options

    def arrays(self, texts: Sequence[str]) -> TokenArrays:
        """Return what the tower is given for texts, in their order."""
        encoded = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        options = self._options
        length = options.longest if options.pads_fully else max(map(len, encoded))
        ids = np.full((len(encoded), length), options.pad_id, np.int64)
        mask = np.zeros_like(ids)
        for row, tokens in enumerate(encoded):
            place = slice(-len(tokens), None) if options.pads_left else slice(len(tokens))
            ids[row, place], mask[row, place] = tokens, 1
        arrays = {IDS: ids, MASK: mask, TYPES: np.zeros_like(ids)}
        return {name: arrays[name] for name in options.inputs}

    def unknown_words(self, text: str) -> tuple[str, ...]:
        """Return the words that the encoder never learned, each once."""
        unknown = self._options.unknown_id
        if unknown is None:
            return ()
        words = dict.fromkeys("".join(c if c.isalnum() else " " for c in text).split())
        return tuple(
            word
            for word in words
            if unknown in self._tokenizer.encode(word, add_special_tokens=False).ids
        )
