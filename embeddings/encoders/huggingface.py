"""Encoders in Hugging Face layout, run by torch: CLIP, SigLIP, dual encoders and their like.

Whatever `AutoModel` loads and gives image and text features serves. Weights are read from
safetensors only, and no code from the folder is ever run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from PIL.Image import Image as Pixels
from PIL.Image import new as new_image
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer
from transformers.utils import logging as transformers_logging

from embeddings.encoders.sources import Source
from embeddings.errors import EncoderUnavailable
from embeddings.vectors import Vectors, normalise

transformers_logging.disable_progress_bar()

# Below this size bfloat16 saves less time than its rounding is worth.
BFLOAT16_FROM_PARAMETERS = 20_000_000


class TorchEncoder:
    """An encoder loaded from a folder. Raises EncoderUnavailable when the folder is no encoder."""

    def __init__(self, source: Source, *, device: str, precision: str) -> None:
        self.name = source.name
        self.revision = source.revision
        self._device = torch.device(choose_device(device))
        # Weights are shared by threads, and two forward passes at once only slow each other down.
        self._lock = threading.Lock()
        # A tokenizer keeps the padding of its last call, so calls must not overlap either.
        self._tokenizing = threading.Lock()
        try:
            self._model, self._tokenizer, self._processor = _load(source.folder)
            self._model = self._model.to(self._device).eval()
            self._image_dtype = choose_dtype(precision, self._device, self._model.num_parameters())
            self._text_options = text_options(self._model.config, self._tokenizer)
            self.image_edge = image_edge(self._processor)
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

    def encode_images(self, images: Sequence[Pixels]) -> Vectors:
        """Return (n, dimensions) of RGB images."""
        pixels = self._processor(images=list(images), return_tensors="pt")["pixel_values"]
        with torch.autocast(
            self._device.type, self._image_dtype, enabled=self._image_dtype != torch.float32
        ):
            return self._features(
                self._model.get_image_features, pixel_values=pixels.to(self._device)
            )

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Return (n, dimensions); a text beyond the encoder's length is cut."""
        with self._tokenizing:
            tokens = self._tokenizer(list(texts), return_tensors="pt", **self._text_options)
        return self._features(self._model.get_text_features, **tokens.to(self._device))

    def unknown_words(self, text: str) -> tuple[str, ...]:
        unknown = self._tokenizer.unk_token_id
        words = dict.fromkeys("".join(c if c.isalnum() else " " for c in text).split())
        with self._tokenizing:
            return tuple(
                word
                for word in words
                if unknown in self._tokenizer(word, add_special_tokens=False)["input_ids"]
            )

    def _features(self, features: Callable[..., Any], **inputs: Any) -> Vectors:
        try:
            with self._lock, torch.inference_mode():
                output = features(**inputs)
        except (torch.OutOfMemoryError, torch.AcceleratorError) as error:
            # No image's fault: the same batch may pass later, or elsewhere.
            raise EncoderUnavailable(f"The device of the encoder failed: {error}") from error
        # transformers 5 wraps the features; the remote code of older models does not.
        vectors = getattr(output, "pooler_output", output)
        return normalise(cast(torch.Tensor, vectors).float().cpu().numpy())


def _load(folder: Path) -> tuple[Any, Any, Any]:
    """Return model, tokenizer and image processor of a folder."""
    model, report = AutoModel.from_pretrained(
        str(folder),
        use_safetensors=True,
        trust_remote_code=False,
        dtype=torch.float32,
        output_loading_info=True,
    )
    for feature in ("get_image_features", "get_text_features"):
        if not hasattr(model, feature):
            raise ValueError(f"{type(model).__name__} does not encode both images and texts")
    if missing := report["missing_keys"]:
        # They would be filled at random, in each process in another way.
        raise ValueError(f"its checkpoint lacks {len(missing)} weights")
    tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
    processor = AutoImageProcessor.from_pretrained(
        str(folder), trust_remote_code=False, backend="pil"
    )
    return model, tokenizer, processor


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
    """Return the precision of image encoding; `auto`: bfloat16 where the processor has it."""
    if precision != "auto":
        return cast(torch.dtype, getattr(torch, precision))
    if parameters < BFLOAT16_FROM_PARAMETERS:
        return torch.float32
    if device.type == "cuda":
        has_bfloat16 = torch.cuda.is_bf16_supported()
    else:
        # Without these instructions bfloat16 is emulated, and slower than float32.
        capabilities = torch.cpu.get_capabilities() if device.type == "cpu" else {}
        has_bfloat16 = any(capabilities.get(name) for name in ("amx_bf16", "avx512_bf16"))
    return torch.bfloat16 if has_bfloat16 else torch.float32


def text_options(config: Any, tokenizer: Any) -> dict[str, Any]:
    """Return how texts are padded and cut, as the encoder's text tower was trained."""
    tower = getattr(config, "text_config", config)
    length = getattr(tower, "max_position_embeddings", None) or tokenizer.model_max_length
    options = {"truncation": True, "max_length": min(int(length), 512)}
    if "siglip" in config.model_type:
        # Trained with every text padded to full length; a shorter one gives other vectors.
        return options | {"padding": "max_length"}
    # CLIP looks at the end-of-text token: padding changes nothing and doubles the time.
    return options | {"padding": True}


def image_edge(processor: Any) -> int:
    """Return the pixels of the longer side of what the image tower is given."""
    size = getattr(processor, "crop_size", None) or processor.size
    return max(int(edge) for edge in dict(size).values() if edge)
