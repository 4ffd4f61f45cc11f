"""Images with captions from anywhere, read once and kept on disk for as long as a training takes.

Whoever knows the images gives them one by one; here they become arrays that are mapped into memory.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image as Pixels
from tqdm import tqdm

from embeddings.errors import TrainingFailed
from embeddings.training import state
from embeddings.vectors import Vector

AT_ONCE = 64
READERS = 8
SHOWN = 20  # reasons why images cannot be read
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
    unreadable: int

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


class Collector(Generic[Opened]):
    """Reads examples into a folder, once: who asks again gets what was read the first time.

    `open_` raises ExampleUnreadable where an image cannot be had.
    """

    def __init__(self, folder: Path, split: Split, open_: Callable[[Example], Opened]) -> None:
        self._folder, self._split, self._open = folder, split, open_
        self._unreadable = 0

    def collect(
        self, examples: Iterable[Example], train: Turn[Opened], held_out: Turn[Opened]
    ) -> Collection:
        """Return all examples that can be read. Raise TrainingFailed where they are too few."""
        about = self._folder / "examples.json"
        if not about.exists():
            said = self._read(examples, train, held_out)
            # Written last: until then nothing was collected.
            state.replace(about, json.dumps(said).encode())
        said = json.loads(about.read_bytes())
        learnt, unseen = (self._part(place, part) for place, part in enumerate(said["parts"]))
        if len(learnt) < FEWEST or not len(unseen):
            about.unlink()  # who has added some may ask again
            raise TrainingFailed(
                f"{len(learnt):,} images with captions to learn from and {len(unseen):,} held "
                f"out are too few; {said['unreadable']:,} could not be read."
            )
        return Collection(learnt, unseen, said["unreadable"])

    def _read(
        self, examples: Iterable[Example], train: Turn[Opened], held_out: Turn[Opened]
    ) -> dict[str, Any]:
        with (
            self._array(0).open("wb") as first,
            self._array(1).open("wb") as second,
            ThreadPoolExecutor(READERS, thread_name_prefix="reading") as pool,
            tqdm(desc="reading images", unit="image", disable=None) as progress,
        ):
            learnt, unseen = _Writer(first, train), _Writer(second, held_out)
            for some in _in_parts(_with_captions(examples)):
                is_room = len(unseen.captions) < MOST_HELD_OUT
                parts: tuple[list[_Read[Opened]], ...] = ([], [])
                for one in pool.map(self._read_one, some):
                    if isinstance(one, ExampleUnreadable):
                        self._leave_out(one)
                    else:
                        parts[is_room and self._split.holds_out(one.example.key)].append(one)
                learnt.add(parts[0])
                unseen.add(parts[1])
                progress.update(len(some))
            said = [learnt.end(), unseen.end()]
        if self._unreadable:
            tqdm.write(f"{self._unreadable:,} images could not be read and are left out.")
        return {"parts": said, "unreadable": self._unreadable}

    def _read_one(self, example: Example) -> _Read[Opened] | ExampleUnreadable:
        try:
            return _Read(example, self._open(example))
        except ExampleUnreadable as error:
            return error

    def _leave_out(self, error: ExampleUnreadable) -> None:
        """Count an image that cannot be read; tell why of the first ones."""
        self._unreadable += 1
        if self._unreadable <= SHOWN:
            tqdm.write(str(error))

    def _part(self, place: int, said: dict[str, Any]) -> Part:
        captions = [tuple(texts) for texts in said["captions"]]
        if not captions:
            return Part([], np.empty(0))
        shape = (len(captions), *said["shape"])
        return Part(captions, np.memmap(self._array(place), said["dtype"], mode="c", shape=shape))

    def _array(self, place: int) -> Path:
        return self._folder / ("images.array", "held-out.array")[place]


@dataclass(frozen=True)
class _Read(Generic[Opened]):
    example: Example
    opened: Opened


class _Writer(Generic[Opened]):
    """A part under way: images go to its file, captions wait for the end."""

    def __init__(self, file: IO[bytes], turn: Turn[Opened]) -> None:
        self._file, self._turn = file, turn
        self._rows: dict[str, Any] = {}
        self.captions: list[tuple[str, ...]] = []

    def add(self, read: Sequence[_Read[Opened]]) -> None:
        if not read:
            return
        rows = np.ascontiguousarray(self._turn([one.opened for one in read]))
        self._file.write(rows.tobytes())
        self._rows = {"shape": rows.shape[1:], "dtype": str(rows.dtype)}
        self.captions += [one.example.captions for one in read]

    def end(self) -> dict[str, Any]:
        """Make the file lasting, and return what is needed to read it."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return {**self._rows, "captions": self.captions}


def _with_captions(examples: Iterable[Example]) -> Iterator[Example]:
    for example in examples:
        texts = (" ".join(text.split()) for text in example.captions)
        captions = tuple(dict.fromkeys(text for text in texts if text))
        if captions:
            yield replace(example, captions=captions)


def _in_parts(examples: Iterator[Example]) -> Iterator[list[Example]]:
    while some := list(itertools.islice(examples, AT_ONCE)):
        yield some
