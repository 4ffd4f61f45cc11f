"""Search without a filter: kinds of index and nearest(), beside IndexFlatIP."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any

import faiss as faiss_without_types
import numpy as np

from bench import _report as report
from bench._data import DIMENSIONS, Float16s, Float32s, K, recall, text_like, true_nearest
from bench._report import Pair, Row

if TYPE_CHECKING:
    from embeddings.indexes.kinds import StoredIndex
    from embeddings.models import Snapshot, Space
    from embeddings.vectors import Ids

# FAISS describes to a type checker the C++ below its Python, and not the Python.
faiss: Any = faiss_without_types

QUERIES = 200
CODE_BYTES = {"hnsw": 2 * DIMENSIONS, "hnsw8": DIMENSIONS, "ivf8": DIMENSIONS}


@dataclass(frozen=True)
class Bounds:
    """What is asked of a kind of index; 0: nothing."""

    times_faster: float
    recall: float
    bytes_a_vector: float = 0.0
    build_seconds: float = 0.0


class Usual:
    """IndexFlatIP, as every CLIP + FAISS program has it, and the truth about some queries."""

    def __init__(self, vectors: Float16s, ids: Ids) -> None:
        faiss.omp_set_num_threads(1)
        self.ids = ids
        self.queries = text_like(vectors, QUERIES, seed=2)
        self.true = true_nearest(vectors, self.queries)
        self._index: Any = faiss.IndexFlatIP(DIMENSIONS)
        for start in range(0, len(vectors), 50_000):
            self._index.add(vectors[start : start + 50_000].astype(np.float32))

    def __len__(self) -> int:
        return len(self.ids)

    def search(self, query: Float32s) -> None:
        faiss.omp_set_num_threads(1)
        self._index.search(query[None, :], K)

    def recall_of(self, find: Callable[[Float32s], Ids]) -> float:
        return recall([np.searchsorted(self.ids, find(query)) for query in self.queries], self.true)

    def beside(self, search: Callable[[Float32s], object], *, runs: int) -> Pair:
        """Return the medians of both over different queries, asked in turn."""
        ours, rival = cycle(self.queries), cycle(self.queries)
        return report.medians(
            lambda: search(next(ours)), lambda: self.search(next(rival)), runs=runs
        )


def index_alone(
    space: Space, snapshot: Snapshot, usual: Usual, bounds: Bounds, *, runs: int
) -> list[Row]:
    """Measure a published snapshot's index as nearest() asks it, without Postgres."""
    from django.conf import settings

    from embeddings import live, snapshots
    from embeddings.nearest import nearest
    from gallery.models import ImageEmbedding

    live.forget_all()
    live.index_of(ImageEmbedding, space).refresh()
    # It asks for some more than k, and with them comes more recall.
    wanted = nearest(ImageEmbedding, space, usual.queries[0], k=K).plan.candidates
    index = snapshots.open_snapshot(snapshot).index
    name = f"{len(usual):,}: {snapshot.kind} at effort {snapshot.effort:g}"
    pair = usual.beside(lambda query: index.search(query, wanted), runs=runs)
    rows = [
        report.faster(
            f"{name}, {wanted} candidates, index alone; IndexFlatIP",
            pair,
            floor=bounds.times_faster,
            limit=report.of_bandwidth(bytes_read(index, usual.queries, wanted), pair.ours),
        ),
        report.at_least(
            f"{name}, recall@10",
            usual.recall_of(lambda query: index.search(query, wanted).ids[:K]),
            bounds.recall,
        ),
    ]
    if bounds.bytes_a_vector:
        file = settings.INDEX_DIR / snapshot.folder / snapshots.INDEX_FILE
        size = file.stat().st_size / len(usual)
        rows.append(report.at_most(f"{name}, file", size, bounds.bytes_a_vector, "B a vector"))
    return rows


def with_read_back(space: Space, usual: Usual, bounds: Bounds, *, runs: int) -> list[Row]:
    """Measure nearest(): the same snapshot, and every hit confirmed and scored by Postgres."""
    from embeddings import live
    from embeddings.nearest import nearest
    from gallery.models import ImageEmbedding

    live.forget_all()
    view = live.index_of(ImageEmbedding, space).refresh()
    assert view is not None

    def search(query: Float32s) -> Ids:
        return nearest(ImageEmbedding, space, query, k=K).ids

    name = f"{len(usual):,}: nearest() by {view.title}"
    return [
        # No floor: Postgres answers a statement in about as long as the index takes.
        report.faster(f"{name}, read-back; IndexFlatIP", usual.beside(search, runs=runs), floor=1),
        report.at_least(f"{name}, recall@10", usual.recall_of(search), bounds.recall),
    ]


def build_time(kind: str, vectors: Float16s, ids: Ids, bounds: Bounds) -> Row:
    """Measure how long a kind takes to build from vectors at hand, on all cores."""
    from embeddings.indexes import kinds
    from embeddings.indexes.spool import Spool

    seconds = report.seconds_of(lambda: kinds.build(kind, Spool(ids, vectors)))
    return report.at_most(f"{len(ids):,}: {kind} built", seconds, bounds.build_seconds, "s")


def bytes_read(index: StoredIndex, queries: Float32s, wanted: int) -> float:
    """Return about how many bytes of vectors a search compares with."""
    if index.kind not in CODE_BYTES:
        return len(index) * DIMENSIONS / 16  # 4 bits for each 8 dimensions, of every vector
    counts = faiss.cvar.indexIVF_stats if index.kind == "ivf8" else faiss.cvar.hnsw_stats
    counts.reset()
    for query in queries:
        index.search(query, wanted)
    return float(counts.ndis / len(queries) * CODE_BYTES[index.kind])
