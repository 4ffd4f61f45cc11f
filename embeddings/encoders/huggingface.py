"""Encoders run by torch: what `reading` finds in a folder, or in two.

Weights are read from safetensors only, and no code from the folder is ever run.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import torch
from PIL.Image import Image as Pixels
from PIL.Image import new as new_image

from embeddings.encoders import reading
from embeddings.encoders.framing import Frames, means
from embeddings.encoders.gpu import COMPILED_FROM, ImageTower
from embeddings.encoders.parts import features_of
from embeddings.encoders.precisions import AUTO, BFLOAT16
from embeddings.encoders.sources import Source
from embeddings.encoders.tokens import Tokens
from embeddings.errors import EncoderUnavailable, VectorInvalid
from embeddings.vectors import Vectors, normalise

# Below this size bfloat16 saves less time than its rounding is worth.
BFLOAT16_FROM_PARAMETERS = 20_000_000


class TorchEncoder:
    """An encoder loaded from its folders. Raises EncoderUnavailable where that cannot be done."""

    def __init__(self, source: Source, *, device: str, precision: str) -> None:
        self.name = source.name
        self.revision = source.revision
        self._device = torch.device(choose_device(device))
        # Two texts at once only slow each other down.
        self._lock = threading.Lock()
        parts = reading.read(*source.folders)
        self._tokens = Tokens(parts.tokenizer, parts.text_options)
        self.framing = parts.framing.in_manner(source.manner)
        try:
            self._model = parts.model.to(self._device)
            dtype = choose_dtype(precision, self._device, self._model.num_parameters())
            # A processor's graphs are made by other runtimes: see `cpu`.
            compiled_from = COMPILED_FROM if self._device.type == "cuda" else 0
            self._images = ImageTower(parts, self._device, dtype, compiled_from=compiled_from)
            # Tried once, so that a device that lacks an operation, or memory, is told now.
            self.dimensions = self.encode_texts(["a"]).shape[1]
            self.encode_images([new_image("RGB", (8, 8))])
        except (RuntimeError, VectorInvalid) as error:
            raise EncoderUnavailable(
                f"The encoder in {source.folder} cannot be run on {self._device}: {error}"
            ) from error

    def encode_frames(self, frames: Sequence[Frames]) -> Vectors:
        """Return (n, dimensions) of images by what is looked at of them."""
        vectors = normalise(self._images.features(np.concatenate(frames)))
        return means(vectors, [len(one) for one in frames])

    def encode_images(self, images: Sequence[Pixels]) -> Vectors:
        """Return (n, dimensions) of RGB images."""
        return self.encode_frames([self.framing.frames(image) for image in images])

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Return (n, dimensions); a text beyond the encoder's length is cut."""
        arrays = self._tokens.arrays(texts)
        try:
            with self._lock, torch.inference_mode():
                tokens = {
                    name: torch.from_numpy(values).to(self._device)
                    for name, values in arrays.items()
                }
                output = self._model.get_text_features(**tokens)
                return normalise(features_of(output).float().cpu().numpy())
        except (torch.OutOfMemoryError, torch.AcceleratorError) as error:
            # No text's fault: the same may pass later, or elsewhere.
            raise EncoderUnavailable(f"The device of the encoder failed: {error}") from error

    def unknown_words(self, text: str) -> tuple[str, ...]:
        return self._tokens.unknown_words(text)


def choose_device(device: str) -> str:
    """Return the device that `auto` means here, or the named one. Raise EncoderUnavailable."""
    if device != "auto":
        try:
            torch.empty(1, device=device)
        except (RuntimeError, AssertionError) as error:
            raise EncoderUnavailable(f"ENCODER_DEVICE={device} is not here: {error}") from error
        return device
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def choose_dtype(precision: str, device: torch.device, parameters: int) -> torch.dtype:
    """Return the precision of image encoding; `auto`: bfloat16 where a GPU has it."""
    if precision == BFLOAT16:
        return torch.bfloat16
    if precision == AUTO and device.type == "cuda":
        is_worth_it = parameters >= BFLOAT16_FROM_PARAMETERS
        return torch.bfloat16 if is_worth_it and torch.cuda.is_bf16_supported() else torch.float32
    return torch.float32  # int8 is for the runtimes of the CPU
