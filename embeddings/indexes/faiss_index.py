"""Indexes built by FAISS: one class, and a table of the kinds it can be.

No kind rests on a default of FAISS: each states what its searches look at, and the number that is
tuned (its effort) belongs to the index object or travels with the call. FAISS frees the GIL while
it searches.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss as faiss_without_types
import numpy as np
import psutil
from numpy.typing import NDArray

from embeddings.indexes.contract import Candidates, Mask, best, candidates_of
from embeddings.indexes.spool import Halves, Spool
from embeddings.vectors import Ids, Vector, Vectors

# FAISS describes to a type checker the C++ below its Python, and not the Python.
faiss: Any = faiss_without_types

TUNED_FOR = candidates_of(10, scored=False)  # an effort was measured with at most so many
MOST_K = 1000  # for more, a graph or some lists cost as much as looking at every vector
GRAPH_SHARE = 500  # vectors a hit, below which a graph costs as much as well
LEAST_SHARE = 0.5  # allowed of all, below which a graph loses its way and a scan is quick
TRAINING_ROWS = 40  # a cluster; FAISS asks for 39
PROBED_OF = 40.0  # vectors in the lists that are probed, a hit
LONG = 50_000  # vectors: a build of so many is worth a look at the machine
LOOK_SECONDS = 0.2  # at the processors, to see which are idle
REFINED_OF = 32.0  # candidates a hit that RaBitQ leaves to the refining step
_EF = (16.0, 24.0, 32.0, 36.0, 40.0, 48.0, 64.0, 96.0, 128.0, 192.0, 256.0, 384.0, 512.0)
_POWERS = tuple(float(2**i) for i in range(10))


def lists_of(n: int) -> int:
    """Return nlist for n vectors: the power of two next to 4 sqrt(n), as FAISS' authors advise.

    Fewer where a list would have too few vectors to learn its centre from.
    """
    most = np.log2(max(1, n / TRAINING_ROWS))
    return int(2 ** max(0, min(round(np.log2(4 * max(1, n) ** 0.5)), int(most))))


def _pq(d: int, of: int, refine: str) -> str:
    """4 bits for each `of` dimensions, scanned in registers (Andre et al. 2017), then refined."""
    width = -(-d // of) * of
    pad = f"Pad{width}," if width != d else ""
    return f"{pad}PQ{width // of}x4fs,Refine({refine})"


def _graph(effort: float, k: int, **selector: Any) -> Any:
    # For more than it was tuned with: among as many candidates as hits, a graph finds only the
    # easy ones.
    ef_search = max(int(effort), 2 * k - TUNED_FOR)
    return faiss.SearchParametersHNSW(efSearch=ef_search, **selector)


def _lists(effort: float, k: int, **selector: Any) -> Any:
    return faiss.SearchParametersIVF(nprobe=int(effort), **selector)


def _refined(effort: float, k: int, **selector: Any) -> Any:
    # Never fewer candidates than it was tuned with: of few hits, the first pass is as coarse.
    k_factor = effort * max(1.0, TUNED_FOR / k)
    return faiss.IndexRefineSearchParameters(k_factor=k_factor, **selector)


def _refined_lists(effort: float, k: int, **selector: Any) -> Any:
    lists = _lists(effort, k, **selector)
    return faiss.IndexRefineSearchParameters(
        k_factor=REFINED_OF, base_index_params=lists, **selector
    )


@dataclass(frozen=True)
class FaissKind:
    """How a kind is built, searched and scanned."""

    name: str
    factory: Callable[[int, int], str]  # (n, dimensions) -> FAISS' own description
    efforts: tuple[float, ...] = ()  # to try, ascending; none: it compares with every vector
    parameters: Callable[..., Any] | None = None  # (effort, k, sel=...) -> search parameters
    flat: str | None = None  # attribute that holds a flat copy; None: the index itself is scanned
    least: int = 0  # vectors it takes to learn from
    takes_selector: bool = True
    scan_is_exact: bool = True


KINDS = {
    kind.name: kind
    for kind in (
        FaissKind("flat", lambda n, d: "SQfp16"),
        # Malkov and Yashunin 2016. Its storage is the flat copy.
        FaissKind("hnsw", lambda n, d: "HNSW32,SQfp16", _EF, _graph, "storage"),
        FaissKind("hnsw8", lambda n, d: "HNSW32,SQ8", _EF, _graph, "storage", scan_is_exact=False),
        FaissKind(
            # To find the lists costs as much as to look into eight of them.
            "ivf8", lambda n, d: f"IVF{lists_of(n)},SQ8", _POWERS[3:], _lists,
            least=10_000, scan_is_exact=False,
        ),
        FaissKind(
            "pq", lambda n, d: _pq(d, 4, "SQfp16"), _POWERS[3:], _refined, "refine_index",
            least=1000, takes_selector=False,
        ),
        # Half the codes: 32 MB of a million stay in a processor's cache, and are scanned in a
        # quarter of the time. Where they are too coarse, more is refined, or "pq" takes over.
        FaissKind(
            "pq8", lambda n, d: _pq(d, 8, "SQ8"), _POWERS[3:], _refined, "refine_index",
            least=1000, takes_selector=False, scan_is_exact=False,
        ),
        # Gao and Long 2024: one bit a dimension.
        FaissKind(
            "rabitq", lambda n, d: f"IVF{lists_of(n)},RaBitQfs,Refine(SQ8)", _POWERS[1:],
            _refined_lists, "refine_index", least=10_000, scan_is_exact=False,
        ),
    )
}  # fmt: skip


class FaissIndex:
    """An index of FAISS over ids. Never changes once it is made."""

    def __init__(self, kind: FaissKind, ids: Ids, index: Any, effort: float | None = None) -> None:
        if index.ntotal != len(ids):
            raise ValueError(f"{index.ntotal} vectors have {len(ids)} ids")
        self.ids = ids
        self.effort = effort if effort is not None else (kind.efforts or (None,))[-1]
        self._kind = kind
        self._index = index
        flat = index if kind.flat is None else faiss.downcast_index(getattr(index, kind.flat))
        self._flat = flat
        self._nlist = _nlist(index)
        self._allowed: tuple[weakref.ref[Mask], _Allowed] | None = None

    @classmethod
    def open(cls, name: str, file: Path, ids: Ids, effort: float | None = None) -> FaissIndex:
        """Map an index file: its pages are shared by all processes of the machine."""
        return cls(KINDS[name], ids, faiss.read_index(str(file), faiss.IO_FLAG_MMAP_IFC), effort)

    @classmethod
    def flat(cls, parts: Iterable[tuple[Ids, Vectors]], dimensions: int) -> FaissIndex:
        """Take (ids, vectors), ids ascending through all parts, into a flat index in memory."""
        index = faiss.index_factory(
            dimensions, KINDS["flat"].factory(0, dimensions), faiss.METRIC_INNER_PRODUCT
        )
        index.train(np.zeros((1, dimensions), np.float32))  # float16 learns nothing
        ids = [np.empty(0, np.int64)]
        for part_ids, vectors in parts:
            index.add(np.ascontiguousarray(vectors))
            ids.append(part_ids)
        return cls(KINDS["flat"], np.concatenate(ids), index)

    def write(self, file: Path) -> None:
        faiss.write_index(self._index, str(file))

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def kind(self) -> str:
        return self._kind.name

    @property
    def is_exact(self) -> bool:
        return not self._kind.efforts

    @property
    def scan_is_exact(self) -> bool:
        return self._kind.scan_is_exact

    @property
    def efforts(self) -> tuple[float, ...]:
        """The efforts worth trying, ascending; none for an exact index."""
        most = self._nlist or np.inf
        return tuple(effort for effort in self._kind.efforts if effort <= most)

    def with_effort(self, effort: float) -> FaissIndex:
        """Return the same index searched with another effort."""
        return FaissIndex(self._kind, self.ids, self._index, effort)

    def search(self, query: Vector, k: int, *, allowed: Mask | None = None) -> Candidates:
        if self.is_exact:
            return self.scan(query, k, allowed=allowed)
        those = self._those(allowed)
        left = len(self) if those is None else those.count
        wanted = min(k, left)
        if left < LEAST_SHARE * len(self) or self._is_much(wanted):
            return self.scan(query, k, allowed=allowed)
        if allowed is None or self._kind.takes_selector:
            found = self._ask(query, wanted, those)
        else:
            found = self._dropping(query, wanted, allowed)
        # A graph may not lead to k allowed ones, and the probed lists may hold fewer.
        return found if len(found.ids) >= wanted else self.scan(query, k, allowed=allowed)

    def scan(self, query: Vector, k: int, *, allowed: Mask | None = None) -> Candidates:
        those = self._those(allowed)
        k = min(k, len(self) if those is None else those.count)
        if not k:
            return Candidates(np.empty(0, np.int64), np.empty(0, np.float32))
        selector = {} if those is None else {"sel": those.selector}
        if self._flat is self._index and self._nlist:
            parameters = _lists(self._nlist, k, **selector)
        else:
            parameters = faiss.SearchParameters(**selector) if selector else None
        return self._answer(self._flat, query, k, parameters)

    def halves(self) -> Halves:
        """Return the vectors (n, dimensions) as they lie in a flat index, without copying them."""
        codes = self._flat.codes
        if not len(self):
            return np.empty((0, self._index.d), np.float16)
        raw: NDArray[np.uint8] = faiss.rev_swig_ptr(codes.data(), codes.size())
        return raw.view(np.float16).reshape(len(self), self._index.d)

    def _ask(self, query: Vector, k: int, those: _Allowed | None) -> Candidates:
        assert self._kind.parameters is not None  # an exact index is scanned
        selector = {} if those is None else {"sel": those.selector}
        parameters = self._kind.parameters(self._effort_for(k), k, **selector)
        return self._answer(self._index, query, k, parameters)

    def _is_much(self, k: int) -> bool:
        """Whether k vectors are found sooner by a scan of all."""
        if not self._kind.takes_selector and self.effort is not None:
            return k * self.effort > len(self) / 4  # so many would be refined
        most = MOST_K if self._nlist else min(MOST_K, len(self) // GRAPH_SHARE)
        return k > max(most, TUNED_FOR)

    def _effort_for(self, k: int) -> float:
        """Return the effort for k: the lists that are probed must hold many times k."""
        assert self.effort is not None  # an exact index is scanned
        if not self._nlist or k <= TUNED_FOR:
            return self.effort
        return min(self._nlist, max(self.effort, PROBED_OF * k * self._nlist / len(self)))

    def _dropping(self, query: Vector, k: int, allowed: Mask) -> Candidates:
        """Ask for more than k and drop what is not allowed: a register scan takes no selector."""
        # At least half are allowed, so of 3 k and some more, k are; else the caller scans.
        found = self._ask(query, min(len(self), 3 * k + 8), None)
        stays = allowed[np.searchsorted(self.ids, found.ids)]
        return Candidates(found.ids[stays][:k], found.scores[stays][:k])

    def _answer(self, index: Any, query: Vector, k: int, parameters: Any) -> Candidates:
        faiss.omp_set_num_threads(1)  # of this thread: a second one makes a busy machine slower
        scores, places = index.search(query[None, :], k, params=parameters)
        found = places[0] >= 0  # fewer than k were there
        # FAISS leaves equal scores in any order; every route returns them by ascending id.
        return best(Candidates(self.ids[places[0][found]], scores[0][found]), k)

    def _those(self, allowed: Mask | None) -> _Allowed | None:
        """Return a mask as FAISS wants it. The last one is remembered: a view keeps its own."""
        if allowed is None:
            return None
        last = self._allowed
        if last is not None and last[0]() is allowed:
            return last[1]
        those = _Allowed(allowed)
        self._allowed = (weakref.ref(allowed), those)
        return those


def _nlist(index: Any) -> int:
    """Return the lists of an IVF index, also below a refining one; 0 of others."""
    base = faiss.downcast_index(index.base_index) if hasattr(index, "base_index") else index
    return int(getattr(base, "nlist", 0))


class _Allowed:
    """A mask, counted and packed. The selector does not keep its bits alive; this does."""

    def __init__(self, mask: Mask) -> None:
        self.count = int(np.count_nonzero(mask))
        self._bits = np.packbits(mask, bitorder="little")
        self.selector = faiss.IDSelectorBitmap(self._bits)


def build(name: str, spool: Spool) -> FaissIndex:
    """Build an index of a kind over all vectors of a spool, with the cores that are idle.

    With too few vectors to learn from, it is a flat one.
    """
    kind = KINDS[name] if len(spool) >= KINDS[name].least else KINDS["flat"]
    n, d = len(spool), spool.dimensions
    if not n and kind.efforts:
        kind = KINDS["flat"]
    # What takes long leaves a core to the searches that go on meanwhile.
    less = 1 if kind.parameters in (_graph, _lists, _refined_lists) else 0
    with _threads(_idle_cores() - less if n >= LONG else 1):
        index = faiss.index_factory(d, kind.factory(n, d), faiss.METRIC_INNER_PRODUCT)
        if kind.parameters is _graph:
            index.hnsw.efConstruction = 80
        rows = TRAINING_ROWS * max(256, lists_of(n))
        index.train(spool.sample(rows) if n else np.zeros((1, d), np.float32))
        for _, vectors in spool.parts():
            index.add(vectors)
    return FaissIndex(kind, spool.ids, index)


def _idle_cores() -> int:
    """Return how many cores nobody else uses now.

    FAISS' threads wait for one another by spinning: with one too many on a busy machine a build
    was seen to take 20 times as long as with one alone.
    """
    busy = psutil.cpu_percent(interval=LOOK_SECONDS) / 100
    return round((os.cpu_count() or 1) * (1 - busy))


@contextmanager
def _threads(n: int) -> Iterator[None]:
    """Let FAISS use up to n threads."""
    faiss.omp_set_num_threads(max(1, n))
    try:
        yield
    finally:
        faiss.omp_set_num_threads(1)
