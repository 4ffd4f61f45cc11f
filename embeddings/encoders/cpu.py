"""Encoders on the CPU, without torch: texts by ONNX Runtime, images by OpenVINO.

A process that only searches never opens the image tower, nor one that only embeds images the text
tower.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Generic

import numpy as np
from PIL.Image import Image as Pixels
from tokenizers import Tokenizer

from embeddings.encoders import exports, heap, processors, variants
from embeddings.encoders.exports import Export, ExportFailed
from embeddings.encoders.framing import Frames, means
from embeddings.encoders.keeping import FolderBroken, Opened
from embeddings.encoders.layout import PIXELS, TOKENIZER_FILE
from embeddings.encoders.precisions import (
    BFLOAT16,
    FLOAT32,
    IMAGE,
    TEXT,
    TOWERS,
    Calibration,
    Precisions,
    TowerName,
)
from embeddings.encoders.sources import Source
from embeddings.encoders.tokens import Tokens
from embeddings.encoders.towers import OnnxTower, OpenVinoTower, Tower
from embeddings.vectors import Vectors, normalise

log = logging.getLogger(__name__)

# Frames or texts: 32 are a twentieth quicker than 16, more are hardly, and each takes memory, of
# large towers much.
AT_ONCE = 32


class CpuEncoder:
    """An exported encoder. Raises ExportFailed when it cannot be exported."""

    def __init__(
        self, source: Source, cache: Path, *, precisions: Precisions, threads: int
    ) -> None:
        self.name = source.name
        self.revision = source.revision
        self.precisions = precisions
        self._files = _Files(source, cache, precisions=precisions, threads=threads)
        self._text, self._image = _Once(self._files.open_text), _Once(self._files.open_image)
        export = self._files.export
        self.dimensions = export.dimensions
        self.framing = export.framing.in_manner(source.manner)

    def encode_frames(self, frames: Sequence[Frames]) -> Vectors:
        """Return (n, dimensions) of images by what is looked at of them."""
        pixels, tower = np.concatenate(frames), self._image.get()
        features = np.empty((len(pixels), self.dimensions), np.float32)
        for some in _slices(len(pixels)):
            features[some] = tower.features({PIXELS: pixels[some]})
        return means(normalise(features), [len(one) for one in frames])

    def encode_images(self, images: Sequence[Pixels]) -> Vectors:
        """Return (n, dimensions) of RGB images."""
        return self.encode_frames([self.framing.frames(image) for image in images])

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Return (n, dimensions); a text beyond the encoder's length is cut."""
        tokens, tower = self._text.get()
        features = np.empty((len(texts), self.dimensions), np.float32)
        # Those of about the same length together: each is padded to the longest beside it.
        by_length = np.argsort([len(text) for text in texts], kind="stable")
        for places in map(by_length.__getitem__, _slices(len(texts))):
            features[places] = tower.features(tokens.arrays([texts[n] for n in places]))
        return normalise(features)

    def unknown_words(self, text: str) -> tuple[str, ...]:
        tokens, _ = self._text.get()
        return tokens.unknown_words(text)

    def with_precisions(self, precisions: Precisions) -> CpuEncoder:
        """Return one of the same files that computes otherwise."""
        files = self._files
        return CpuEncoder(files.source, files.cache, precisions=precisions, threads=files.threads)

    def prepare(self) -> None:
        """Make the files that its precisions need, unless they are there. Raise ExportFailed."""
        self._files.prepare()

    def calibrate(self, frames: Sequence[Frames]) -> Calibration:
        """Return what int8 of images needs to know of images like these. Raise ExportFailed."""
        together = np.concatenate(frames)
        return self._files.whole(lambda export: variants.calibrate(export, together))

    def change(self, precisions: Precisions) -> None:
        """Go over to other precisions while threads use it: who has begun ends as it began.

        Takes seconds, more where a tower must be made first. Raise ExportFailed, and stay as it
        is, when that cannot be done.
        """
        other = self.with_precisions(precisions)
        other.prepare()
        text = self._text if self._is_same(TEXT, precisions) else other._text
        image = self._image if self._is_same(IMAGE, precisions) else other._image
        if self._text.is_open:
            text.get()  # before anybody waits for it
        if self._image.is_open:
            image.get()
        self._text, self._image, self.precisions = text, image, precisions
        self._files = other._files

    def _is_same(self, tower: TowerName, precisions: Precisions) -> bool:
        return self.precisions.of(tower) == precisions.of(tower)


class _Files:
    """What an encoder was exported to, and how its towers are opened from there.

    It knows no encoder: else an encoder that is let go of, with its hundreds of megabytes, would
    be gone only when Python next looks for circles.
    """

    def __init__(
        self, source: Source, cache: Path, *, precisions: Precisions, threads: int
    ) -> None:
        self.source, self.cache = source, cache
        self.threads = threads
        self._precisions = precisions
        self.export = exports.find(source, cache)

    def prepare(self) -> None:
        for tower in TOWERS:
            self.whole(partial(variants.file, tower=tower, precisions=self._precisions))

    def open_text(self) -> tuple[Tokens, Tower]:
        def opened(export: Export) -> tuple[Tokens, Tower]:
            tokenizer = Tokenizer.from_buffer(export.content(TOKENIZER_FILE))
            tower = self._opened(export, TEXT, OnnxTower)
            return Tokens(tokenizer, export.text_options), tower

        return self.whole(opened)

    def open_image(self) -> Tower:
        # Beside int8, what is left in floats is quicker so, and loses less than the int8 does.
        wanted = self._precisions.image
        is_short = wanted != FLOAT32 and processors.has_bfloat16()
        precision = "bf16" if is_short or wanted == BFLOAT16 else "f32"
        open_ = partial(OpenVinoTower, precision=precision, threads=self.threads)
        return self.whole(lambda export: self._opened(export, IMAGE, open_))

    def whole(self, open_: Callable[[Export], Opened]) -> Opened:
        """Open what is proved first; what is damaged is made anew, once."""
        try:
            return open_(self.export)
        except FolderBroken:
            self.export = exports.renew(self.source, self.cache, broken=self.export)
        try:
            return open_(self.export)
        except FolderBroken as error:
            raise ExportFailed(f"{error} It was made anew just now: look at the disk.") from error

    def _opened(self, export: Export, tower: TowerName, open_: Callable[[Path], Opened]) -> Opened:
        try:
            return variants.opened(export, tower, self._precisions, open_)
        except ExportFailed as error:
            log.warning("%s It is computed in %s.", error, FLOAT32)
            return variants.opened(export, tower, Precisions(), open_)


def _slices(n: int) -> Iterator[slice]:
    return (slice(start, start + AT_ONCE) for start in range(0, n, AT_ONCE))


class _Once(Generic[Opened]):
    """What the first who asks opens."""

    def __init__(self, open_: Callable[[], Opened]) -> None:
        self._open = open_
        self._lock = threading.Lock()
        self._opened: Opened | None = None

    @property
    def is_open(self) -> bool:
        return self._opened is not None

    def get(self) -> Opened:
        if self._opened is None:
            with self._lock:
                if self._opened is None:
                    self._opened = self._open()
                    heap.trim()
        return self._opened
