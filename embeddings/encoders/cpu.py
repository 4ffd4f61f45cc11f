"""Encoders on the CPU, without torch: texts by ONNX Runtime, images by OpenVINO.

A process that only searches never opens the image tower, nor one that only embeds images the text
tower.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL.Image import Image as Pixels
from tokenizers import Tokenizer

from embeddings.encoders import exports, precisions
from embeddings.encoders.exports import Export, ExportBroken, ExportFailed
from embeddings.encoders.framing import Frames, means
from embeddings.encoders.layout import IMAGE_FILE, PIXELS, TEXT_FILE, TOKENIZER_FILE
from embeddings.encoders.sources import Source
from embeddings.encoders.tokens import Tokens
from embeddings.encoders.towers import OnnxTower, OpenVinoTower, Tower
from embeddings.vectors import Vectors, normalise

_RUNTIME_PRECISION = {"float32": "f32", "bfloat16": "bf16"}

Opened = TypeVar("Opened")


class CpuEncoder:
    """An exported encoder. Raises ExportFailed when it cannot be exported."""

    def __init__(self, source: Source, cache: Path, *, precision: str, threads: int) -> None:
        self.name = source.name
        self.revision = source.revision
        self._source, self._cache = source, cache
        self._threads = threads
        self._lock = threading.Lock()
        self._text: tuple[Tokens, Tower] | None = None
        self._image: Tower | None = None
        self._export = exports.find(source, cache)
        self._precisions = precisions.choose(precision, self._export.parameters)
        self.dimensions = self._export.dimensions
        self.framing = self._export.framing.in_manner(source.manner)

    def encode_frames(self, frames: Sequence[Frames]) -> Vectors:
        """Return (n, dimensions) of images by what is looked at of them."""
        features = self._image_tower().features({PIXELS: np.concatenate(frames)})
        return means(normalise(features), [len(one) for one in frames])

    def encode_images(self, images: Sequence[Pixels]) -> Vectors:
        """Return (n, dimensions) of RGB images."""
        return self.encode_frames([self.framing.frames(image) for image in images])

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Return (n, dimensions); a text beyond the encoder's length is cut."""
        tokens, tower = self._text_tower()
        return normalise(tower.features(tokens.arrays(texts)))

    def unknown_words(self, text: str) -> tuple[str, ...]:
        tokens, _ = self._text_tower()
        return tokens.unknown_words(text)

    def _text_tower(self) -> tuple[Tokens, Tower]:
        with self._lock:
            if self._text is None:
                self._text = self._whole(self._open_text)
            return self._text

    def _image_tower(self) -> Tower:
        with self._lock:
            if self._image is None:
                self._image = self._whole(self._open_image)
            return self._image

    def _whole(self, open_: Callable[[Export], Opened]) -> Opened:
        """Open what is proved first; what is damaged is made anew, once."""
        try:
            return open_(self._export)
        except ExportBroken:
            self._export = exports.renew(self._source, self._cache, broken=self._export)
        try:
            return open_(self._export)
        except ExportBroken as error:
            raise ExportFailed(f"{error} It was made anew just now: look at the disk.") from error

    def _open_text(self, export: Export) -> tuple[Tokens, Tower]:
        tokenizer = Tokenizer.from_file(str(export.file(TOKENIZER_FILE)))
        return Tokens(tokenizer, export.text_options), OnnxTower(export.file(TEXT_FILE))

    def _open_image(self, export: Export) -> Tower:
        precision = _RUNTIME_PRECISION[self._precisions.image]
        return OpenVinoTower(export.file(IMAGE_FILE), precision=precision, threads=self._threads)
