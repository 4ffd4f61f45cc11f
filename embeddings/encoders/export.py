"""Writes an encoder's towers as ONNX files. Run as a program, for torch costs seconds and memory:

    python -m embeddings.encoders.export OUTPUT FOLDER [FOLDER OF THE TEXT TOWER]

It says in OUTPUT/encoder.json what whoever runs the files must know. When it fails, the last line
of stderr is why, and its exit status one of `programs`.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim

from embeddings.encoders import programs, reading
from embeddings.encoders.framing import Frames
from embeddings.encoders.layout import IMAGE_FILE, PIXELS, SAID_FILE, TEXT_FILE, TOKENIZER_FILE
from embeddings.encoders.parts import Parts, features_of
from embeddings.encoders.tokens import Tokens
from embeddings.encoders.towers import OnnxTower
from embeddings.errors import EncoderUnavailable

LEAST_COSINE = 0.99999  # of what the files give, to what torch gives
_TEXTS = ("a", "two red boats at night on the sea", "Ein Haus, 北京 и море " * 9)
_FRAMES = 3


class TextTower(nn.Module):
    """Token arrays to features, in the order of the names."""

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        self.model, self.names = parts.model, parts.text_options.inputs

    def forward(self, *arrays: Tensor) -> Tensor:
        tokens = dict(zip(self.names, arrays, strict=True))
        return features_of(self.model.get_text_features(**tokens))


class ImageTower(nn.Module):
    """Frames, as they are decoded, to features: (n, height, width, 3) bytes to (n, dimensions)."""

    scale: Tensor
    shift: Tensor

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        self.model = parts.model
        self.register_buffer("scale", torch.from_numpy(parts.scale).view(1, 3, 1, 1))
        self.register_buffer("shift", torch.from_numpy(parts.shift).view(1, 3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        scaled = pixels.permute(0, 3, 1, 2).float() * self.scale - self.shift
        return features_of(self.model.get_image_features(pixel_values=scaled))


def export(parts: Parts, output: Path) -> None:
    """Write the towers of an encoder. Raise ValueError, or what the exporter raises."""
    parts.tokenizer.save(str(output / TOKENIZER_FILE))
    tokens = Tokens(parts.tokenizer, parts.text_options)
    text_width = _export_texts(parts, tokens, output / TEXT_FILE)
    image_width = _export_images(parts, output / IMAGE_FILE)
    if text_width != image_width:
        raise ValueError(f"it gives {image_width} dimensions for images and {text_width} for texts")
    said = {
        "dimensions": text_width,
        "text": parts.text_options.to_json(),
        "framing": parts.framing.to_json(),
        "parameters": sum(parameter.numel() for parameter in parts.model.parameters()),
    }
    (output / SAID_FILE).write_text(json.dumps(said, indent=1))


def _export_texts(parts: Parts, tokens: Tokens, file: Path) -> int:
    names = parts.text_options.inputs
    arrays = tokens.arrays(_TEXTS)
    # What is padded to its full length has one length only.
    length = Dim.STATIC if parts.text_options.pads_fully else Dim.DYNAMIC
    _write(TextTower(parts).eval(), arrays, file, shape={0: Dim.DYNAMIC, 1: length})
    tower = OnnxTower(file)
    worst, width = 1.0, 0
    for texts in (_TEXTS, *([text] for text in _TEXTS)):
        arrays = tokens.arrays(texts)
        with torch.inference_mode():
            expected = TextTower(parts)(*(torch.from_numpy(arrays[name]) for name in names)).numpy()
        worst = min(worst, _least_cosine(tower.features(arrays), expected))
        width = expected.shape[1]
    _check(worst, "texts")
    return width


def _export_images(parts: Parts, file: Path) -> int:
    framing = parts.framing
    size = (_FRAMES, framing.height, framing.width, 3)
    frames: Frames = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    frames[1] = np.linspace(0, 255, framing.width, dtype=np.uint8)[None, :, None]
    tower = ImageTower(parts).eval()
    _write(tower, {PIXELS: frames}, file, shape={0: Dim.DYNAMIC})
    with torch.inference_mode():
        expected = tower(torch.from_numpy(frames)).numpy()
    _check(_least_cosine(OnnxTower(file).features({PIXELS: frames}), expected), "images")
    return int(expected.shape[1])


def _write(tower: nn.Module, arrays: dict[str, Any], file: Path, *, shape: dict[int, Any]) -> None:
    inputs = tuple(torch.from_numpy(values) for values in arrays.values())
    is_many = len(inputs) > 1 or isinstance(tower, TextTower)
    shapes = tuple(dict(shape) for _ in inputs)
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # of a library to its own developers
        torch.onnx.export(
            tower,
            inputs,
            str(file),
            input_names=list(arrays),
            output_names=["features"],
            dynamic_shapes=(shapes,) if is_many else shapes,
            dynamo=True,
            external_data=True,
            verbose=False,
        )


def _least_cosine(given: Any, expected: Any) -> float:
    if given.shape != expected.shape or not np.isfinite(expected).all():
        return -1.0
    lengths = np.linalg.norm(given, axis=1) * np.linalg.norm(expected, axis=1)
    return float(((given * expected).sum(axis=1) / lengths).min())


def _check(cosine: float, what: str) -> None:
    if not cosine >= LEAST_COSINE:
        raise ValueError(f"its {what} come out otherwise than by torch (cosine {cosine:.6f})")


def main(output: Path, *folders: Path) -> None:
    programs.end_with_parent()
    try:
        parts = reading.read(*folders)
    except EncoderUnavailable as error:
        programs.fail(programs.REFUSED, str(error))
    try:
        export(parts, output)
    except OSError as error:
        programs.fail(programs.PASSING, error.strerror or str(error))
    except MemoryError:
        programs.fail(programs.PASSING, "the memory was too small")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
