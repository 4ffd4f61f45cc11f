"""Images with captions from anywhere, read once and kept on disk for as long as a training takes.

Whoever knows the images gives them one by one; here they become arrays that are mapped into memory.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image as Pixels
from tqdm import tqdm

from embeddings.errors import TrainingFailed
from embeddings.training import state
from embeddings.vectors import Vector

READ = "examples.json"  # there as soon as all images were read
AT_ONCE = 64
READERS = 8
SHOWN = 20  # reasons why something is left out
FEWEST = 16  # images to learn from
MOST_HELD_OUT = 2000  # they are encoded after each epoch

Opened = TypeVar("Opened")  # an image as it is read
Turn = Callable[[Sequence[Opened]], NDArray[Any]]  # images to rows of one array


@dataclass(frozen=True)
class Example:
    """An image with captions. `open` takes how many pixels its shorter edge need have at most."""

    key: str  # the same for the same image, whenever it is listed
    captions: tuple[str, ...]
    open: Callable[[int], Pixels]
    vector: Vector | None = None  # by the base, where it is known


class ExampleUnreadable(Exception):
    """One image cannot be had: a sentence. Others can."""


# Who lists them may know already that one cannot be had.
Listed = Example | ExampleUnreadable


@dataclass(frozen=True)
class Part:
    """Images that are learnt from, or those that are held out."""

    captions: list[tuple[str, ...]]  # of each image
    images: NDArray[Any]  # (n, ...), mapped from disk

    def __len__(self) -> int:
        return len(self.captions)


@dataclass(frozen=True)
class Collection:
    train: Part
    held_out: Part

    @property
    def texts(self) -> list[str]:
        """Every caption once, in a fixed order."""
        parts = (self.train.captions, self.held_out.captions)
        return sorted({text for part in parts for captions in part for text in captions})


@dataclass(frozen=True, kw_only=True)
class Split:
    """Which images are held out: a share of them, by their keys and a seed."""

    share: float = 0.1
    seed: int = 0

    def holds_out(self, key: str) -> bool:
        digest = hashlib.sha256(f"{self.seed}/{key}".encode()).digest()
        return int.from_bytes(digest[:8]) < self.share * 2**64


@dataclass(frozen=True)
class Room:
    """The folder in which what was read is kept, and what of its disk is left to all else."""

    folder: Path
    spare_bytes: int = 0

    def check(self) -> None:
        """Raise TrainingFailed where more would leave too little room."""
        if shutil.disk_usage(self.folder).free < self.spare_bytes:
            raise TrainingFailed(
                f"The disk of {self.folder} is nearly full: make room, or name another --output. "
                "The same command reads the images anew."
            )


class Collector(Generic[Opened]):
    """Reads examples into a folder, once: who asks again gets what was read the first time.

    `open_` raises ExampleUnreadable where an image cannot be had.
    """

    def __init__(self, room: Room, split: Split, open_: Callable[[Example], Opened]) -> None:
        self._room, self._split, self._open = room, split, open_
        self._left_out = 0

    def collect(
        self, examples: Iterable[Listed], train: Turn[Opened], held_out: Turn[Opened]
    ) -> Collection:
        """Return all examples that can be read. Raise TrainingFailed where they are too few."""
        about = self._room.folder / READ
        if not about.exists():
            with ExitStack() as undo:
                # It will be read anew, and the disk may be full of it.
                undo.callback(self._remove)
                said = self._read(examples, train, held_out)
                # Written last: until then nothing was collected.
                state.replace(about, json.dumps(said).encode())
                undo.pop_all()
        said = json.loads(about.read_bytes())
        learnt, unseen = (self._part(number, part) for number, part in enumerate(said["parts"]))
        if len(learnt) < FEWEST or not len(unseen):
            about.unlink()  # who has added some may ask again
            self._remove()
            raise TrainingFailed(
                f"{len(learnt):,} images with captions to learn from and {len(unseen):,} held "
                f"out are too few: it takes {FEWEST} and 1. Left out were {said['left out']:,}."
            )
        return Collection(learnt, unseen)

    def _read(
        self, examples: Iterable[Listed], train: Turn[Opened], held_out: Turn[Opened]
    ) -> dict[str, Any]:
        with (
            closing(_Writer(self._array(0), train)) as learnt,
            closing(_Writer(self._array(1), held_out)) as unseen,
            ThreadPoolExecutor(READERS, thread_name_prefix="reading") as pool,
            tqdm(desc="reading images", unit="image", disable=None) as progress,
        ):
            for some in _in_parts(_with_captions(examples)):
                self._room.check()
                to_learn: list[_Read[Opened]] = []
                to_hold: list[_Read[Opened]] = []
                for one in pool.map(self._read_one, some):
                    if isinstance(one, ExampleUnreadable):
                        self._tell(one)
                        continue
                    is_room = len(unseen.captions) + len(to_hold) < MOST_HELD_OUT
                    is_held = is_room and self._split.holds_out(one.example.key)
                    (to_hold if is_held else to_learn).append(one)
                learnt.add(to_learn)
                unseen.add(to_hold)
                progress.update(len(some))
            said = [learnt.end(), unseen.end()]
        if self._left_out:
            tqdm.write(f"Left out in all: {self._left_out:,}.")
        return {"parts": said, "left out": self._left_out}

    def _read_one(self, example: Listed) -> _Read[Opened] | ExampleUnreadable:
        if isinstance(example, ExampleUnreadable):
            return example
        try:
            return _Read(example, self._open(example))
        except ExampleUnreadable as error:
            return error

    def _tell(self, error: ExampleUnreadable) -> None:
        """Count what cannot be learnt from; tell why of the first ones."""
        self._left_out += 1
        if self._left_out <= SHOWN:
            tqdm.write(str(error))

    def _part(self, number: int, said: dict[str, Any]) -> Part:
        captions = [tuple(texts) for texts in said["captions"]]
        if not captions:
            return Part([], np.empty(0))
        shape = (len(captions), *said["shape"])
        return Part(captions, np.memmap(self._array(number), said["dtype"], mode="c", shape=shape))

    def _array(self, number: int) -> Path:
        return self._room.folder / ("images.array", "held-out.array")[number]

    def _remove(self) -> None:
        for number in range(2):
            self._array(number).unlink(missing_ok=True)


@dataclass(frozen=True)
class _Read(Generic[Opened]):
    example: Example
    opened: Opened


class _Writer(Generic[Opened]):
    """A part under way: images go to its file, captions wait for the end."""

    def __init__(self, path: Path, turn: Turn[Opened]) -> None:
        self._path, self._turn = path, turn
        self._file = path.open("wb")
        self._rows: dict[str, Any] = {}
        self.captions: list[tuple[str, ...]] = []

    def add(self, read: Sequence[_Read[Opened]]) -> None:
        if not read:
            return
        rows = np.ascontiguousarray(self._turn([one.opened for one in read]))
        with state.told_when_unwritable(self._path):
            self._file.write(rows.tobytes())
        self._rows = {"shape": rows.shape[1:], "dtype": str(rows.dtype)}
        self.captions += [one.example.captions for one in read]

    def end(self) -> dict[str, Any]:
        """Make the file lasting, and return what is needed to read it."""
        with state.told_when_unwritable(self._path):
            self._file.flush()
            os.fsync(self._file.fileno())
        return {**self._rows, "captions": self.captions}

    def close(self) -> None:
        # All that counts is on the disk by then; what a full one has refused was told.
        with suppress(OSError):
            self._file.close()


def _with_captions(examples: Iterable[Listed]) -> Iterator[Listed]:
    for example in examples:
        if isinstance(example, ExampleUnreadable):
            yield example
            continue
        texts = (" ".join(text.split()) for text in example.captions)
        captions = tuple(dict.fromkeys(text for text in texts if text))
        if captions:
            yield replace(example, captions=captions)


def _in_parts(examples: Iterator[Listed]) -> Iterator[list[Listed]]:
    while some := list(itertools.islice(examples, AT_ONCE)):
        yield some
