"""Towers in int8, made of an export's float32 ones and kept beside it.

Each lies in a folder of its own, named after the export, the tower and, of images, the calibration.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from embeddings.encoders import exports, keeping, programs
from embeddings.encoders.exports import Export, ExportFailed
from embeddings.encoders.framing import Frames
from embeddings.encoders.keeping import FolderBroken, Kept, Opened
from embeddings.encoders.layout import IMAGE_FILE, RANGES_FILE, TEXT_FILE
from embeddings.encoders.precisions import (
    INT8,
    INT8_BLOCKS,
    TEXT,
    Calibration,
    Precisions,
    TowerName,
)

log = logging.getLogger(__name__)

FORMAT = 1  # of what `quantise` makes: a higher one makes all of them anew
SECONDS = 1800
_PROGRAM = "embeddings.encoders.quantise"


def file(export: Export, tower: TowerName, precisions: Precisions) -> Path:
    """Return the file of a tower at its precision, proved; int8 is made the first time.

    Raise ExportFailed when it cannot be made or kept, FolderBroken when the export is damaged.
    """
    return opened(export, tower, precisions, lambda path: path)


def opened(
    export: Export, tower: TowerName, precisions: Precisions, open_: Callable[[Path], Opened]
) -> Opened:
    """Return what `open_` makes of that file, whose weights are proved meanwhile. Raise likewise.

    It is called again with the file that was made anew where an int8 one was damaged.
    """
    precision, calibration = precisions.of(tower)
    name = TEXT_FILE if tower == TEXT else IMAGE_FILE
    if precision not in (INT8, INT8_BLOCKS):
        return export.opened(name, open_)
    variant = _Variant(export, name, precision, calibration)
    kept = variant.find()
    try:
        return kept.opened(name, open_)
    except FolderBroken:
        return variant.find(broken=kept).opened(name, open_)


def calibrate(export: Export, frames: Frames) -> Calibration:
    """Return between which values an image tower computes for frames, (n, height, width, 3).

    Raise ExportFailed when it cannot be run, FolderBroken when the export is damaged.
    """
    arguments = ("calibrate", export.file(IMAGE_FILE))
    ended = programs.run(_PROGRAM, *arguments, seconds=SECONDS, stdin=_packed(frames))
    if ended.why:
        raise ExportFailed(f"The image tower cannot be calibrated: {ended.why}.")
    return Calibration.of(json.loads(ended.said))


def versions() -> str:
    """Return what a proof of a precision holds for, beside the processor."""
    return f"{exports.versions()} int8={FORMAT}"


@dataclass(frozen=True)
class _Variant:
    """A tower in int8, there or not."""

    export: Export
    name: str
    precision: str
    calibration: Calibration | None

    def find(self, *, broken: Kept | None = None) -> Kept:
        folder = self._place()
        try:
            return keeping.find(folder, Kept.read, self._write, broken=broken)
        except OSError as error:
            raise ExportFailed(
                f"The tower in {self.precision} cannot be kept in {folder.parent}: "
                f"{error.strerror or error}."
            ) from error

    def _place(self) -> Path:
        of = self.calibration.id if self.calibration else "all"
        name = f"{self.export.folder.name}.{self.name}-{self.precision}-{FORMAT}-{of}"
        return self.export.folder.with_name(name)

    def _write(self, part: Path) -> None:
        started = time.monotonic()
        source, made = self.export.file(self.name), part / self.name
        way = "blocks" if self.precision == INT8_BLOCKS else "text"
        arguments: tuple[object, ...] = (way, source, made)
        if self.calibration is not None:
            (part / RANGES_FILE).write_text(json.dumps(self.calibration.ranges))
            arguments = ("image", source, made, part / RANGES_FILE)
        ended = programs.run(_PROGRAM, *arguments, seconds=SECONDS)
        if ended.why:
            raise ExportFailed(
                f"The tower {self.name} cannot be had in {self.precision}: {ended.why}."
            )
        seconds = time.monotonic() - started
        log.info("Made %s of %s in %.0f seconds.", self.precision, self.name, seconds)


def _packed(frames: Frames) -> bytes:
    height, width = frames.shape[1:3]
    return np.array([height, width], np.int64).tobytes() + np.ascontiguousarray(frames).tobytes()
