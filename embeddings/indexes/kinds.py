"""Which kinds of index there are, which one suits, and how one is built and opened again.

A new kind is a row in FAISS' table (faiss_index.py) or a class of its own, and a row in PROFILES.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from embeddings.indexes import faiss_index
from embeddings.indexes.contract import VectorIndex
from embeddings.indexes.faiss_index import FaissIndex
from embeddings.indexes.spool import Spool
from embeddings.vectors import Ids

log = logging.getLogger(__name__)

AUTO = "auto"
QUICK = "pq8"  # built in seconds: published first when there was nothing, its better follows
FLAT_TO = 20_000  # vectors: up to here comparing with all takes a millisecond
GRAPH_TO = 400_000  # up to here a graph is built in minutes


class StoredIndex(VectorIndex, Protocol):
    """An index that can be written to a file and searched with more or less effort."""

    @property
    def effort(self) -> float | None:
        """Its search parameter (ef_search, nprobe or k_factor); None for an exact one."""
        ...

    @property
    def efforts(self) -> tuple[float, ...]:
        """The efforts worth trying, ascending; none for an exact one."""
        ...

    def with_effort(self, effort: float) -> Self: ...

    def write(self, file: Path) -> None: ...

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class Profile:
    """What a kind costs, and what is built where its recall falls short."""

    bytes_a_vector: Callable[[int], float]  # of its dimensions
    # First one that looks at the code of every vector: queries far from the data, which lead a
    # graph or lists astray, cost it no neighbour.
    safer: tuple[str, ...] = ("pq", "flat")
    quick_too: bool = False  # built in seconds


_GRAPH_BYTES = 270.0  # 64 neighbours of 4 bytes, and the upper levels

PROFILES = {
    "flat": Profile(lambda d: 2.0 * d, (), quick_too=True),
    "hnsw": Profile(lambda d: 2.0 * d + _GRAPH_BYTES),
    "hnsw8": Profile(lambda d: d + _GRAPH_BYTES),
    "ivf8": Profile(lambda d: d + 16.0),
    "pq": Profile(lambda d: 2.0 * d + d / 8, ("flat",), quick_too=True),
    "pq8": Profile(lambda d: d + d / 16, quick_too=True),
    "rabitq": Profile(lambda d: d + d / 8 + 32.0),
    # Its file is a flat one; the vectors go to the device when it is opened.
    "gpu": Profile(lambda d: 2.0 * d, (), quick_too=True),
}
NAMES = tuple(PROFILES)


def choose(setting: str, n: int, dimensions: int, memory_bytes: int) -> str:
    """Return the kind for n vectors: the setting's own, or with "auto" what suits n and memory."""
    if setting != AUTO:
        return setting
    if n <= FLAT_TO:
        return "flat"
    preferred = ("hnsw", "hnsw8", "ivf8") if n <= GRAPH_TO else ("ivf8",)
    for kind in preferred:
        if n * PROFILES[kind].bytes_a_vector(dimensions) <= memory_bytes:
            return kind
    log.warning(
        "%d vectors of %d dimensions do not fit INDEX_MEMORY_MB as any kind; ivf8 needs %.0f MB.",
        n, dimensions, n * PROFILES["ivf8"].bytes_a_vector(dimensions) / 2**20,
    )  # fmt: skip
    return "ivf8"


def memory_bytes(megabytes: int) -> int:
    """Return a budget in bytes; 0 stands for a quarter of this machine's memory."""
    if megabytes:
        return megabytes * 2**20
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4


def build(kind: str, spool: Spool) -> StoredIndex:
    """Build an index over all vectors of a spool; a flat one where there are too few to learn."""
    return faiss_index.build("flat" if kind == "gpu" else kind, spool)


def open_file(kind: str, file: Path, ids: Ids, *, effort: float | None = None) -> StoredIndex:
    """Open an index file of a kind. Raise ValueError for a kind that is not known."""
    if kind not in PROFILES:
        raise ValueError(f"{kind!r} is no kind of index; there are {', '.join(NAMES)}.")
    if kind != "gpu":
        return FaissIndex.open(kind, file, ids, effort)
    # torch takes seconds to import: only who has a device pays for it.
    from embeddings.indexes.torch_matrix import TorchMatrix

    if TorchMatrix.has_device():
        return TorchMatrix.open(file, ids)
    log.warning("INDEX_KIND is gpu and there is no CUDA device: searching in memory instead.")
    return FaissIndex.open("flat", file, ids)
