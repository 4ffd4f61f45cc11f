"""How fast the gallery answers, and how much of the truth its index finds.

Asked are the same queries as for quality, one after the other, as a single person would.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from django.db.models import F
from tqdm import tqdm

from embeddings import live, measures
from embeddings.encoders import registry
from embeddings.live import View
from embeddings.models import Snapshot, Space
from embeddings.nearest import nearest, nearest_exactly
from embeddings.vectors import Vectors
from gallery.evaluation.errors import NotYet
from gallery.models import ImageEmbedding, ImageQuerySet

WARM_UP = 3  # calls before the clock counts: caches, connections, compiled code
NO_FILTER = "none"
SHARES = (2, 10, 100)  # one image in so many passes the filter
SWEEP = (1, 10, 100, 1000)  # k


@dataclass(frozen=True)
class Asked:
    """Queries that are timed: their words and vectors (q, dimensions), where, and for how many."""

    texts: Sequence[str]
    vectors: Vectors
    space: Space
    k: int


@dataclass(frozen=True, kw_only=True)
class RouteFigures:
    """The answers that took one route under one filter."""

    filter: str
    route: str
    queries: int
    exact: bool
    recall_at_k: float
    p50_ms: float  # the query's vector at hand
    p95_ms: float
    p50_ms_uncached: float  # with encoding the text
    p95_ms_uncached: float
    p50_ms_exact: float  # of exact search in Postgres, for comparison


@dataclass(frozen=True, kw_only=True)
class SweepPoint:
    """Recall against latency: measured now, or while the snapshot was built."""

    source: str  # "live", "exact" or "snapshot"
    k: int
    effort: float | None  # search parameter; None: the one in use
    recall: float
    ms: float  # median


@dataclass(frozen=True, kw_only=True)
class Performance:
    index: str
    kind: str
    snapshot: int | None
    vectors: int
    k: int
    queries: int
    recall_at_k: float  # of the live index, unfiltered
    encode_p50_ms: float
    encode_p95_ms: float
    routes: tuple[RouteFigures, ...]
    sweep: tuple[SweepPoint, ...]


@dataclass(frozen=True)
class _Answer:
    route: str
    exact: bool
    recall: float
    ms: float
    exact_ms: float  # what exact search in Postgres took
    encode_ms: float


def measure(asked: Asked, visible: ImageQuerySet) -> Performance:
    """Time the queries by each route that they take, and judge the index by exact search.

    Filters leave all that the viewer may see, a half, a tenth and a hundredth of it. Raise NotYet
    when this process has no index to measure.
    """
    view = _view(asked.space)
    encode_ms = _time_encoder(asked)
    answers_by_filter = {
        name: list(_ask(name, within, asked, encode_ms)) for name, within in _filters(visible)
    }
    unfiltered = answers_by_filter[NO_FILTER]
    exact = SweepPoint(
        source="exact",
        k=asked.k,
        effort=None,
        recall=1.0,
        ms=_p(50, [a.exact_ms for a in unfiltered]),
    )
    return Performance(
        index=view.title,
        kind=view.base.kind,
        snapshot=view.snapshot_id,
        vectors=len(view),
        k=asked.k,
        queries=len(asked.texts),
        recall_at_k=_mean([answer.recall for answer in unfiltered]),
        encode_p50_ms=_p(50, encode_ms),
        encode_p95_ms=_p(95, encode_ms),
        routes=tuple(
            figures
            for name, answers in answers_by_filter.items()
            for figures in _by_route(name, answers)
        ),
        sweep=(*_curve(view), *_sweep(asked, len(view)), exact),
    )


def _view(space: Space) -> View:
    view = live.index_of(ImageEmbedding, space).refresh()
    if view is None:
        raise NotYet(
            "The index is still loading: there are too many vectors to read them without a "
            "snapshot. Run manage.py build_index, or wait until the worker has built one."
        )
    return view


def _filters(visible: ImageQuerySet) -> Iterator[tuple[str, ImageQuerySet | None]]:
    yield NO_FILTER, None
    yield "visible", visible
    for share in SHARES:
        yield f"1 in {share}", visible.alias(part=F("pk") % share).filter(part=0)


def _time_encoder(asked: Asked) -> list[float]:
    """Return the milliseconds of encoding each text alone, as a search does."""
    encoder = registry.load(asked.space)
    for text in asked.texts[:WARM_UP]:
        encoder.encode_texts([text])
    taken = []
    for text in tqdm(asked.texts, "timing the encoder", unit="query", disable=None, leave=False):
        started = time.perf_counter()
        encoder.encode_texts([text])
        taken.append(_since(started))
    return taken


def _ask(
    title: str, within: ImageQuerySet | None, asked: Asked, encode_ms: Sequence[float]
) -> Iterator[_Answer]:
    for vector in asked.vectors[:WARM_UP]:
        nearest(ImageEmbedding, asked.space, vector, k=asked.k, within=within)
    bar = tqdm(asked.vectors, f"filter: {title}", unit="query", disable=None, leave=False)
    for vector, encoding in zip(bar, encode_ms, strict=True):
        started = time.perf_counter()
        found = nearest(ImageEmbedding, asked.space, vector, k=asked.k, within=within)
        ms = _since(started)
        started = time.perf_counter()
        true = nearest_exactly(ImageEmbedding, asked.space, vector, k=asked.k, within=within)
        exact_ms = _since(started)
        recall = measures.neighbour_recall(found.scores, true.scores)
        yield _Answer(found.plan.route, found.plan.exact, recall, ms, exact_ms, encoding)


def _by_route(filter_name: str, answers: Sequence[_Answer]) -> Iterator[RouteFigures]:
    by_route: dict[str, list[_Answer]] = defaultdict(list)
    for answer in answers:
        by_route[answer.route].append(answer)
    for route, same in sorted(by_route.items()):
        cached = [answer.ms for answer in same]
        uncached = [answer.ms + answer.encode_ms for answer in same]
        yield RouteFigures(
            filter=filter_name,
            route=route,
            queries=len(same),
            exact=all(answer.exact for answer in same),
            recall_at_k=_mean([answer.recall for answer in same]),
            p50_ms=_p(50, cached),
            p95_ms=_p(95, cached),
            p50_ms_uncached=_p(50, uncached),
            p95_ms_uncached=_p(95, uncached),
            p50_ms_exact=_p(50, [answer.exact_ms for answer in same]),
        )


def _curve(view: View) -> Iterator[SweepPoint]:
    """Yield what was tried while the snapshot was built."""
    if view.snapshot_id is None:
        return
    snapshot = Snapshot.objects.filter(pk=view.snapshot_id).first()
    for effort, recall, ms in snapshot.curve if snapshot is not None else []:
        yield SweepPoint(source="snapshot", k=10, effort=effort, recall=recall, ms=ms)


def _sweep(asked: Asked, n: int) -> Iterator[SweepPoint]:
    """Yield recall@k and the median latency of the live index for several k."""
    ks = [k for k in SWEEP if k == 1 or k < n]  # all of them are a matter of Postgres
    recalls: dict[int, list[float]] = defaultdict(list)
    taken: dict[int, list[float]] = defaultdict(list)
    for vector in tqdm(asked.vectors, "sweep", unit="query", disable=None, leave=False):
        true = nearest_exactly(ImageEmbedding, asked.space, vector, k=ks[-1])
        for k in ks:
            started = time.perf_counter()
            found = nearest(ImageEmbedding, asked.space, vector, k=k)
            taken[k].append(_since(started))
            recalls[k].append(measures.neighbour_recall(found.scores, true.scores[:k]))
    for k in ks:
        yield SweepPoint(
            source="live", k=k, effort=None, recall=_mean(recalls[k]), ms=_p(50, taken[k])
        )


def _since(started: float) -> float:
    return (time.perf_counter() - started) * 1000


def _p(percent: int, milliseconds: Sequence[float]) -> float:
    return float(np.percentile(milliseconds, percent))


def _mean(recalls: Sequence[float]) -> float:
    return float(np.mean(recalls))
