"""Searches, filters and starts, each beside the way it is usually done.

    .venv/bin/python bench/search.py [--quick] [--json]

Data: clustered unit vectors of 512 dimensions and queries that lie away from them as texts do,
seeds 1 to 4 (bench/_data.py), on an embedded Postgres of its own; 100,000 and 1,000,000, with
--quick 30,000 and 100,000. Rivals: FAISS IndexFlatIP, pgvector's HNSW over halfvec with iterative
scan, Django's ORM. One thread; k = 10.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ["OMP_NUM_THREADS"] = "1"  # before numpy reads it

from bench import _filters, _library, _open, _rebuild
from bench import _report as report
from bench._data import clustered
from bench._open import Bounds, Usual
from bench._report import Row

if TYPE_CHECKING:
    from embeddings.models import Space

SMALL = Bounds(times_faster=60, recall=0.98)
LARGE = Bounds(times_faster=200, recall=0.97, bytes_a_vector=700)
QUICKLY_BUILT = Bounds(times_faster=25, recall=0.97, build_seconds=10)
SIZES, QUICK_SIZES = (100_000, 1_000_000), (30_000, 100_000)


def main() -> None:
    given = report.options(__doc__ or "")
    small, large = QUICK_SIZES if given.is_quick else SIZES
    with _library.servers():
        rows = of_small(small, runs=50, queries=10 if given.is_quick else 30)
        _library.empty()
        rows += of_large(large, runs=20 if given.is_quick else 50)
    report.show(rows, given)


def of_small(n: int, *, runs: int, queries: int) -> list[Row]:
    """The library that most have: every kind of search."""
    from embeddings import snapshots
    from gallery.models import ImageEmbedding

    bounds = replace(SMALL, times_faster=SMALL.times_faster * share_of(n, SIZES[0]))
    report.tell(f"{n:,} images")
    space = _library.make_space()
    vectors = clustered(n, seed=1)
    ids = _library.fill(space, vectors)
    report.tell("building the index")
    snapshot = snapshots.build(ImageEmbedding, space)
    assert snapshot is not None
    usual = Usual(vectors, ids)
    report.tell("searches")
    rows = [
        *_open.index_alone(space, snapshot, usual, bounds, runs=runs),
        *_open.with_read_back(space, usual, bounds, runs=runs),
        *_filters.rows(space, vectors, ids, queries=queries),
    ]
    return [*rows, *restarted(space, usual)]


def of_large(n: int, *, runs: int) -> list[Row]:
    """A million: the kind that is small and quick, and the one that is built in seconds."""
    from django.test import override_settings

    from embeddings import snapshots
    from gallery.models import ImageEmbedding

    share = share_of(n, SIZES[1])
    large = replace(LARGE, times_faster=LARGE.times_faster * share)
    quickly = replace(QUICKLY_BUILT, times_faster=QUICKLY_BUILT.times_faster * share)
    report.tell(f"{n:,} images")
    space = _library.make_space()
    vectors = clustered(n, seed=1)
    ids = _library.fill(space, vectors)
    usual = Usual(vectors, ids)
    rows = [_open.build_time("pq8", vectors, ids, quickly)]
    del vectors
    for kind, bounds in (("pq8", quickly), ("ivf8", large)):
        report.tell(f"building and searching {kind}")
        with override_settings(INDEX_RECALL=bounds.recall):
            snapshot = snapshots.build(ImageEmbedding, space, kind=kind)
        assert snapshot is not None
        rows += _open.index_alone(space, snapshot, usual, bounds, runs=runs)
    rows += _open.with_read_back(space, usual, large, runs=runs)
    return [*rows, *restarted(space, usual)]


def share_of(n: int, full: int) -> float:
    """Return the share of a full size's ratio that a smaller size can be asked for.

    The rival's scan takes less of fewer vectors, and these may lie in the processor's cache.
    """
    return 1.0 if n == full else n / full / 3


def restarted(space: Space, usual: Usual) -> list[Row]:
    report.tell("reading from Postgres, starting anew")
    return [_rebuild.reading(space, len(usual), runs=1), *_rebuild.starting(space, usual)]


if __name__ == "__main__":
    main()
