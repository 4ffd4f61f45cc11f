"""Encoders run by torch: what `reading` finds in a folder, or in two.

Weights are read from safetensors only, and no code from the folder is ever run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import torch
from PIL.Image import Image as Pixels
from PIL.Image import new as new_image

from embeddings.encoders import precisions, reading
from embeddings.encoders.framing import Frames, means
from embeddings.encoders.sources import Source
from embeddings.encoders.tokens import Tokens
from embeddings.errors import EncoderUnavailable
from embeddings.vectors import Vectors, normalise


class TorchEncoder:
    """An encoder loaded from a folder. Raises EncoderUnavailable when the folder is no encoder."""

    def __init__(self, source: Source, *, device: str, precision: str) -> None:
        self.name = source.name
        self.revision = source.revision
        self._device = torch.device(choose_device(device))
        # Weights are shared by threads, and two forward passes at once only slow each other down.
        self._lock = threading.Lock()
        try:
            parts = reading.read(*source.folders)
            self._model = parts.model.to(self._device)
            self._image_dtype = choose_dtype(precision, self._device, self._model.num_parameters())
            self._tokens = Tokens(parts.tokenizer, parts.text_options)
            self.framing = parts.framing.in_manner(source.manner)
            self._scale, self._shift = (
                torch.from_numpy(values).view(1, 3, 1, 1).to(self._device)
                for values in (parts.scale, parts.shift)
            )
            # Tried once, so that what is damaged or of another size is told now.
            self.dimensions = self.encode_texts(["a"]).shape[1]
            image_dimensions = self.encode_images([new_image("RGB", (8, 8))]).shape[1]
        except Exception as error:
            # Foreign parsers on foreign files: tokenizers raises bare Exception. The cause is kept.
            raise EncoderUnavailable(
                f"The folder {source.folder} holds no encoder that can be used: {error}"
            ) from error
        if image_dimensions != self.dimensions:
            raise EncoderUnavailable(
                f"The encoder in {source.folder} gives {image_dimensions} dimensions for images "
                f"and {self.dimensions} for texts."
            )

    def encode_frames(self, frames: Sequence[Frames]) -> Vectors:
        """Return (n, dimensions) of images by what is looked at of them."""
        pixels = torch.from_numpy(np.concatenate(frames)).to(self._device)
        pixels = pixels.permute(0, 3, 1, 2).float() * self._scale - self._shift
        with torch.autocast(
            self._device.type, self._image_dtype, enabled=self._image_dtype != torch.float32
        ):
            vectors = self._features(self._model.get_image_features, pixel_values=pixels)
        return means(vectors, [len(one) for one in frames])

    def encode_images(self, images: Sequence[Pixels]) -> Vectors:
        """Return (n, dimensions) of RGB images."""
        return self.encode_frames([self.framing.frames(image) for image in images])

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Return (n, dimensions); a text beyond the encoder's length is cut."""
        tokens = {
            name: torch.from_numpy(values).to(self._device)
            for name, values in self._tokens.arrays(texts).items()
        }
        return self._features(self._model.get_text_features, **tokens)

    def unknown_words(self, text: str) -> tuple[str, ...]:
        return self._tokens.unknown_words(text)

    def _features(self, features: Callable[..., Any], **inputs: Any) -> Vectors:
        try:
            with self._lock, torch.inference_mode():
                output = features(**inputs)
        except (torch.OutOfMemoryError, torch.AcceleratorError) as error:
            # No image's fault: the same batch may pass later, or elsewhere.
            raise EncoderUnavailable(f"The device of the encoder failed: {error}") from error
        return normalise(reading.features_of(output).float().cpu().numpy())


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
    """Return the precision of image encoding; `auto`: bfloat16 where the device has it."""
    if precision == "auto" and device.type == "cuda":
        is_worth_it = parameters >= precisions.BFLOAT16_FROM_PARAMETERS
        has_bfloat16 = torch.cuda.is_bf16_supported()
        return torch.bfloat16 if is_worth_it and has_bfloat16 else torch.float32
    if precision == "auto" and device.type != "cpu":
        return torch.float32
    return cast(torch.dtype, getattr(torch, precisions.choose(precision, parameters).image))
