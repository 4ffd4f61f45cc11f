"""An encoder as it was read from its folders, before any runtime has it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn

from embeddings.encoders.framing import Framing
from embeddings.encoders.tokens import IDS, MASK, TYPES, TextOptions

Channels = NDArray[np.float32]  # (3,): red, green, blue

LONGEST = 512  # tokens


@dataclass(frozen=True)
class Texts:
    """A tower for texts: its model has `get_text_features`."""

    model: Any
    tokenizer: Tokenizer
    options: TextOptions


@dataclass(frozen=True)
class Images:
    """A tower for images: its model has `get_image_features`."""

    model: Any
    framing: Framing
    # Of a pixel's value from 0 to 255, (3,) each: the tower is given value * scale - shift.
    scale: Channels
    shift: Channels


@dataclass(frozen=True)
class Parts:
    """Both, their model one: float32, on the CPU, in evaluation."""

    model: Any
    tokenizer: Tokenizer
    text_options: TextOptions
    framing: Framing
    scale: Channels
    shift: Channels

    @classmethod
    def joined(cls, texts: Texts, images: Images) -> Parts:
        model = images.model if texts.model is images.model else Pair(texts.model, images.model)
        options, framing = texts.options, images.framing
        return cls(model, texts.tokenizer, options, framing, images.scale, images.shift)


class Pair(nn.Module):
    """The text tower of one encoder beside the image tower of another that it was trained for."""

    def __init__(self, texts: nn.Module, images: nn.Module) -> None:
        super().__init__()
        self.texts, self.images = texts, images
        self.eval()

    def get_text_features(self, **tokens: Tensor) -> Any:
        return self.texts.get_text_features(**tokens)  # type: ignore[operator]  # a method

    def get_image_features(self, **pixels: Tensor) -> Any:
        return self.images.get_image_features(**pixels)  # type: ignore[operator]  # a method

    def num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())


def features_of(output: Any) -> torch.Tensor:
    """Return the features of what `get_image_features` or its sister gives, (n, dimensions)."""
    # transformers 5 wraps the features; towers of others do not.
    return getattr(output, "pooler_output", output)  # type: ignore[no-any-return]  # a tensor in either case


def text_options(tokenizer: Any, *, positions: int, pads_fully: bool = False) -> TextOptions:
    """Return how texts are given to a tower of so many positions, by transformers' tokenizer."""
    return TextOptions(
        longest=min(positions, LONGEST),
        pads_fully=pads_fully,
        pads_left=tokenizer.padding_side == "left",
        pad_id=int(tokenizer.pad_token_id or 0),
        unknown_id=tokenizer.unk_token_id,
        inputs=tuple(name for name in (IDS, MASK, TYPES) if name in tokenizer.model_input_names),
    )


def check_numbers(model: nn.Module) -> None:
    """Raise ValueError when a checkpoint holds what is no number."""
    values = (value for value in model.state_dict().values() if value.is_floating_point())
    if not all(bool(value.isfinite().all()) for value in values):
        raise ValueError("its checkpoint holds weights that are no numbers")
