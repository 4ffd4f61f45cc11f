"""All vectors of one build on disk, in float16: read once from Postgres, used many times.

A build trains on some, adds all, measures against all, and begins again with a safer kind when
the first is not good enough. Memory stays that of one part, however many vectors there are.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embeddings.vectors import Ids, Vectors

Halves = NDArray[np.float16]  # (n, dimensions), as the halfvec column holds them

ROWS_AT_ONCE = 16_384


class Spool:
    """Ids, ascending, and their vectors, in a file without a name: it ends with this object."""

    def __init__(self, ids: Ids, halves: Halves) -> None:
        self.ids = ids
        self.halves = halves

    @classmethod
    def fill(cls, parts: Iterable[tuple[Ids, Vectors]], dimensions: int, folder: Path) -> Spool:
        """Take in (ids, vectors), ids ascending through all parts."""
        folder.mkdir(parents=True, exist_ok=True)
        ids = [np.empty(0, np.int64)]
        # The file has no name, and what is mapped of it outlives its closing.
        with tempfile.TemporaryFile(dir=folder) as file:
            for part_ids, vectors in parts:
                vectors.astype(np.float16).tofile(file)
                ids.append(part_ids)
            file.flush()
            all_ids = np.concatenate(ids)
            shape = (len(all_ids), dimensions)
            halves: Halves = np.empty(shape, np.float16)
            if len(all_ids):
                halves = np.memmap(file, np.float16, mode="r", shape=shape)
        return cls(all_ids, halves)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def dimensions(self) -> int:
        return int(self.halves.shape[1])

    def parts(self) -> Iterator[tuple[Ids, Vectors]]:
        """Yield all vectors, some thousand at once, as float32."""
        for start in range(0, len(self), ROWS_AT_ONCE):
            stop = start + ROWS_AT_ONCE
            yield self.ids[start:stop], self.halves[start:stop].astype(np.float32)

    def sample(self, n: int, *, seed: int = 0) -> Vectors:
        """Return at most n vectors (n, dimensions), the same ones for the same spool and seed."""
        return sample(self.halves, n, seed=seed)


def sample(halves: Halves, n: int, *, seed: int = 0) -> Vectors:
    """Return at most n rows as float32, ascending, the same ones for the same seed."""
    if n < len(halves):
        chosen = np.random.default_rng(seed).choice(len(halves), n, replace=False)
        halves = halves[np.sort(chosen)]
    return halves.astype(np.float32)
