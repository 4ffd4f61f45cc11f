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
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image as Pixels
from tqdm import tqdm

from embeddings.errors import TrainingFailed
from embeddings.training import state

AT_ONCE = 64
READERS = 8
SHOWN = 20  # reasons why images cannot be read
FEWEST = 16  # images to learn from
MOST_HELD_OUT = 2000  # they are encoded after each epoch

Turn = Callable[[Sequence[Pixels]], NDArray[Any]]  # images to rows of one array


@dataclass(frozen=True)
class Example:
    """An image with captions. `open` takes how many pixels its shorter edge need have at most."""

    key: str  # the same for the same image, whenever it is listed
    captions: tuple[str, ...]
    open: Callable[[int], Pixels]


_Opened = tuple[Example, Pixels]


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


class Collector:
    """Reads examples into a folder, once: who asks again gets what was read the first time."""

    def __init__(self, folder: Path, *, edge: int, split: Split) -> None:
        self._folder, self._edge, self._split = folder, edge, split
        self._unreadable = 0

    def collect(self, examples: Iterable[Example], train: Turn, held_out: Turn) -> Collection:
        """Return all examples that can be read. Raise TrainingFailed where they are too few."""
        about = self._folder / "examples.json"
        if not about.exists():
            said = self._read(examples, (train, held_out))
            # Written last: until then nothing was collected.
            state.replace(about, json.dumps(said).encode())
        said = json.loads(about.read_bytes())
        learnt, unseen = (self._part(place, part) for place, part in enumerate(said["parts"]))
        if len(learnt) < FEWEST or not len(unseen):
            raise TrainingFailed(
                f"{len(learnt):,} images with captions to learn from and {len(unseen):,} held "
                f"out are too few; {said['unreadable']:,} could not be read."
            )
        return Collection(learnt, unseen, said["unreadable"])

    def _read(self, examples: Iterable[Example], turns: tuple[Turn, Turn]) -> dict[str, Any]:
        with (
            self._array(0).open("wb") as first,
            self._array(1).open("wb") as second,
            ThreadPoolExecutor(READERS, thread_name_prefix="reading") as pool,
            tqdm(desc="reading images", unit="image", disable=None) as progress,
        ):
            learnt, unseen = _Writer(first, turns[0]), _Writer(second, turns[1])
            for some in _in_parts(_with_captions(examples)):
                opened = list(pool.map(self._open, some))
                self._count(opened)
                is_room = len(unseen.captions) < MOST_HELD_OUT
                chosen: tuple[list[_Opened], list[_Opened]] = ([], [])
                for example, pixels in zip(some, opened, strict=True):
                    if not isinstance(pixels, str):
                        place = is_room and self._split.holds_out(example.key)
                        chosen[place].append((example, pixels))
                learnt.add(chosen[0])
                unseen.add(chosen[1])
                progress.update(len(some))
            parts = [learnt.end(), unseen.end()]
        if self._unreadable:
            tqdm.write(f"{self._unreadable:,} images could not be read and are left out.")
        return {"parts": parts, "unreadable": self._unreadable}

    def _open(self, example: Example) -> Pixels | str:
        """Return an image, or why there is none."""
        try:
            return example.open(self._edge)
        except ExampleUnreadable as error:
            return str(error)

    def _count(self, opened: Iterable[Pixels | str]) -> None:
        """Count those that cannot be read, and tell the first reasons."""
        for reason in (one for one in opened if isinstance(one, str)):
            self._unreadable += 1
            if self._unreadable <= SHOWN:
                tqdm.write(reason)

    def _part(self, place: int, said: dict[str, Any]) -> Part:
        captions = [tuple(texts) for texts in said["captions"]]
        if not captions:
            return Part([], np.empty(0))
        shape = (len(captions), *said["shape"])
        return Part(captions, np.memmap(self._array(place), said["dtype"], mode="c", shape=shape))

    def _array(self, place: int) -> Path:
        return self._folder / ("images.array", "held-out.array")[place]


class _Writer:
    """A part under way: images go to its file, captions wait for the end."""

    def __init__(self, file: IO[bytes], turn: Turn) -> None:
        self._file, self._turn = file, turn
        self._rows: dict[str, Any] = {}
        self.captions: list[tuple[str, ...]] = []

    def add(self, chosen: Sequence[_Opened]) -> None:
        if not chosen:
            return
        rows = np.ascontiguousarray(self._turn([pixels for _, pixels in chosen]))
        self._file.write(rows.tobytes())
        self._rows = {"shape": rows.shape[1:], "dtype": str(rows.dtype)}
        self.captions += [example.captions for example, _ in chosen]

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
            yield Example(example.key, captions, example.open)


def _in_parts(examples: Iterator[Example]) -> Iterator[list[Example]]:
    while some := list(itertools.islice(examples, AT_ONCE)):
        yield some
