"""recall@10 of an index against exact search: measured when it is built, and daily thereafter."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import numpy as np
from django.conf import settings

from embeddings.indexes.contract import Candidates, candidates_of
from embeddings.indexes.kinds import StoredIndex
from embeddings.indexes.spool import Spool
from embeddings.models import QuerySample, Snapshot, Space
from embeddings.vectors import Ids, Scores, Vector, Vectors, normalise

log = logging.getLogger(__name__)

K = 10
QUERIES = 256
ASKED = 192  # of these at most: the rest are made, so that one user's habits do not decide alone
FAR = 1.0  # length of the step away from the data: as texts lie, which are harder than images
SAME = 1e-6  # two scores that differ by less are of vectors alike
NO_GAIN = 0.001  # recall that a doubled effort must add to go on

Searcher = Callable[[Vector, int], Candidates]


def probe_queries(space: Space, spool: Spool) -> Vectors:
    """Return up to QUERIES vectors (n, dimensions) to measure recall with.

    What was searched for lately comes first. The rest are vectors of the space, moved away by
    noise, as far as a text lies from images.
    """
    asked = list(
        QuerySample.objects.filter(space=space).order_by("-asked_at").values_list("vector")[:ASKED]
    )
    some = spool.sample(QUERIES - len(asked), seed=1)
    made = np.random.default_rng(7919).normal(size=some.shape)
    made *= FAR / max(1.0, space.dimensions**0.5)
    sampled = np.array(asked, np.float32).reshape(-1, space.dimensions)
    queries = normalise(np.concatenate([sampled, some + made]))
    # Rounded as nearest() rounds what it is asked.
    return queries.astype(np.float16).astype(np.float32)


class RecallProbe:
    """Queries, and the score of the K-th nearest of each among all vectors of a spool."""

    def __init__(self, queries: Vectors, spool: Spool) -> None:
        self.queries = queries
        self._spool = spool
        self._wanted = min(K, len(spool))
        self._least = kth_scores(queries, spool, self._wanted)

    def recall_of(self, search: Searcher, *, scored: bool = True) -> float:
        """Return the share of the K true neighbours that a search finds; 1.0 of an empty spool.

        It is asked as nearest() asks it: for some more than K, of which the K best are returned,
        with `scored` by the index' own scores, else by exact ones. A vector as near as the K-th
        is a true neighbour, whichever of several alike it is.
        """
        if not self._wanted or not len(self.queries):
            return 1.0
        asked = candidates_of(self._wanted, scored=scored)
        found = 0
        for query, least in zip(self.queries, self._least, strict=True):
            ids = search(query, asked).ids
            right = np.count_nonzero(
                self._scores(query, ids[: self._wanted] if scored else ids) >= least - SAME
            )
            found += min(int(right), self._wanted)
        return found / (self._wanted * len(self.queries))

    def _scores(self, query: Vector, ids: Ids) -> Scores:
        """Return the exact scores of ids, without those that are not in the spool."""
        places = np.minimum(np.searchsorted(self._spool.ids, ids), len(self._spool) - 1)
        places = places[self._spool.ids[places] == ids]
        return np.asarray(self._spool.halves[places].astype(np.float32) @ query)


def kth_scores(queries: Vectors, spool: Spool, k: int) -> Scores:
    """Return the score of the k-th nearest of each query (n,), by matrix products."""
    if not k:
        return np.empty(0, np.float32)
    best = np.full((len(queries), k), -np.inf, np.float32)
    for _, vectors in spool.parts():
        scores = queries @ vectors.T
        for row, line in enumerate(scores):
            better = line[line > best[row, 0]]  # few, after the first part
            if len(better):
                best[row] = np.partition(np.concatenate([best[row], better]), -k)[-k:]
                best[row].sort()
    return best[:, 0]


@dataclass(frozen=True)
class Tuned:
    """An index with the effort that reaches the recall asked for, and what was tried."""

    index: StoredIndex
    recall: float
    curve: list[list[float]]  # [effort, recall, milliseconds], as it is stored
    is_enough: bool


def tune(index: StoredIndex, probe: RecallProbe, target: float) -> Tuned:
    """Raise the effort of an index until its recall reaches the target, or gains no more.

    It goes on beyond the target where it can, half of what is left to 1: of so few queries the
    recall is known to about 0.005, and others should find as much.
    """
    if not index.efforts:
        recall = probe.recall_of(index.search, scored=index.scan_is_exact)
        return Tuned(index, recall, [], recall >= target)
    curve: list[list[float]] = []
    aim = target + (1 - target) / 2
    for effort in index.efforts:
        tried = index.with_effort(effort)
        timed = _Timed(tried.search)
        curve.append(
            [effort, probe.recall_of(timed, scored=index.scan_is_exact), timed.milliseconds]
        )
        recalls = [point[1] for point in curve]
        no_gain = len(curve) > 2 and recalls[-1] - max(recalls[:-2]) < NO_GAIN
        if recalls[-1] >= aim or (no_gain and recalls[-1] >= target):
            break
    most = max(recalls)
    good = [point for point in curve if point[1] >= target and point[1] >= min(aim, most - NO_GAIN)]
    effort, recall, _ = good[0] if good else curve[int(np.argmax(recalls))]
    return Tuned(index.with_effort(effort), recall, curve, bool(good))


class _Timed:
    def __init__(self, search: Searcher) -> None:
        self._search = search
        self._taken: list[float] = []

    def __call__(self, query: Vector, k: int) -> Candidates:
        started = time.perf_counter()
        found = self._search(query, k)
        self._taken.append((time.perf_counter() - started) * 1000)
        return found

    @property
    def milliseconds(self) -> float:
        return round(median(self._taken), 4) if self._taken else 0.0


def warning(snapshot: Snapshot) -> str:
    """Return a sentence when the recall of a snapshot has decayed below INDEX_RECALL, else ""."""
    if snapshot.recall_now is None or snapshot.recall_now >= settings.INDEX_RECALL:
        return ""
    when = f" on {snapshot.measured_at:%Y-%m-%d}" if snapshot.measured_at else ""
    return (
        f"The index of {snapshot.table} (snapshot {snapshot.pk}, {snapshot.kind}) found "
        f"{snapshot.recall_now:.1%} of the true neighbours of recent queries{when}; "
        f"INDEX_RECALL asks for {settings.INDEX_RECALL:.1%}. "
        "Build it anew with manage.py build_index."
    )
