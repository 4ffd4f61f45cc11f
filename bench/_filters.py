"""Search under filters that leave 50, 10, 1 and 0.1 percent, beside pgvector's HNSW.

The rival is pgvector 0.8 as its README advises: halfvec, HNSW, the filter's column in the same
table with an index of its own, `hnsw.iterative_scan`, and the ef_search of EFFORTS that comes
nearest to recall 0.98. Its HNSW is taken even where Postgres would rather sort what the filter
leaves; "its own plan" is what Postgres takes when it is left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np

from bench import _report as report
from bench._data import DIMENSIONS, Float16s, Float32s, K, recall, text_like, true_nearest
from bench._library import BUCKETS, buckets, copy_in
from bench._report import Row

if TYPE_CHECKING:
    from embeddings.models import Space
    from embeddings.vectors import Ids, Neighbours, Plan

EFFORTS = (40, 100, 200, 400, 1000)
RECALL = 0.98


@dataclass(frozen=True)
class Width:
    """A filter by the share it leaves, and the least ratios to the rival."""

    percent: float
    cached: float
    read: float  # ids not cached

    @property
    def buckets(self) -> int:
        return int(BUCKETS * self.percent / 100)


WIDTHS = (
    Width(50, cached=0, read=0.5), Width(10, cached=1, read=0),
    Width(1, cached=1, read=1), Width(0.1, cached=1, read=1),
)  # fmt: skip


class Rival:
    """A table as pgvector's users make one."""

    def __init__(self, vectors: Float16s, ids: Ids) -> None:
        from django.db import connection

        statement = "COPY usual (id, category, vector) FROM STDIN (FORMAT BINARY)"
        with connection.cursor() as cursor:
            cursor.execute(
                "CREATE TABLE usual (id bigint PRIMARY KEY, category bigint, "
                f"vector halfvec({DIMENSIONS}))"
            )
            copy_in(statement, ids, 0, vectors)
            cursor.execute(
                "UPDATE usual SET category = (%s::int[])[id]", [buckets(len(ids)).tolist()]
            )
            cursor.execute("SET maintenance_work_mem = '1GB'")
            cursor.execute("CREATE INDEX ON usual USING hnsw (vector halfvec_cosine_ops)")
            cursor.execute("CREATE INDEX ON usual (category)")
            cursor.execute("VACUUM FULL ANALYZE usual")

    def search(self, query: Float32s, width: Width) -> Ids:
        from django.db import connection

        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT id FROM usual WHERE category < %s ORDER BY vector <=> %s::halfvec LIMIT %s",
                [width.buckets, str(query.tolist()), K],
            )
            return np.array([row[0] for row in cursor.fetchall()], np.int64)

    @contextmanager
    def scanning(self, order: str, effort: int) -> Iterator[None]:
        """Take the HNSW index with these settings for the life of the block."""
        from django.db import connection

        chosen = {
            "hnsw.iterative_scan": order, "hnsw.ef_search": effort,
            "enable_sort": "off", "enable_seqscan": "off", "enable_bitmapscan": "off",
        }  # fmt: skip
        with connection.cursor() as cursor:
            for name, value in chosen.items():
                cursor.execute(f"SET {name} = {value}")
            try:
                yield
            finally:
                for name in chosen:
                    cursor.execute(f"RESET {name}")


class Filtered:
    """Both sides under one filter."""

    def __init__(
        self, space: Space, vectors: Float16s, ids: Ids, width: Width, queries: Float32s
    ) -> None:
        self.space, self.ids, self.width, self.queries = space, ids, width, queries
        self.true = true_nearest(vectors, self.queries, allowed=buckets(len(ids)) < width.buckets)
        self.fewest = K  # ours of any query

    def ours(self, query: Float32s) -> Neighbours:
        from embeddings.nearest import nearest
        from gallery.models import Image, ImageEmbedding

        within = Image.objects.filter(category__lt=f"{self.width.buckets:03d}")
        found = nearest(ImageEmbedding, self.space, query, k=K, within=within)
        self.fewest = min(self.fewest, len(found.ids))
        return found

    def ours_without_memory(self, query: Float32s) -> Neighbours:
        from embeddings.id_sets import id_sets

        id_sets.forget_all()
        return self.ours(query)

    def recall_of(self, find: Callable[[Float32s], Ids]) -> float:
        found = [np.searchsorted(self.ids, find(query)) for query in self.queries]
        return recall(found, self.true)

    def recall_by_promise(self) -> list[Row]:
        """Return recall@10 of the queries whose plan says exact, and of the others."""
        answers = [self.ours(query) for query in self.queries]
        rows = []
        for exact, least in ((True, 1.0), (False, RECALL)):
            these = [place for place, answer in enumerate(answers) if answer.plan.exact is exact]
            if these:
                routes = " or ".join(sorted({answers[place].plan.route for place in these}))
                said = "exact" if exact else "nearly exact"
                found = [np.searchsorted(self.ids, answers[place].ids) for place in these]
                what = f"recall@10 of {len(these)} said to be {said} ({routes})"
                value = recall(found, self.true[these])
                rows.append(report.at_least(f"{self.width.percent:g} % left, {what}", value, least))
        return rows

    def beside(
        self, what: str, ours: Callable[[Float32s], Neighbours], rival: Rival, *, floor: float
    ) -> Row:
        mine, its = cycle(self.queries), cycle(self.queries)
        pair = report.medians(
            lambda: ours(next(mine)),
            lambda: rival.search(next(its), self.width),
            runs=len(self.queries),
        )
        steps = median_steps([ours(query).plan for query in self.queries])
        return report.faster(
            f"{self.width.percent:g} % left, {what}", pair, floor=floor, limit=steps
        )

    def rows(self, rival: Rival) -> list[Row]:
        rows = self.recall_by_promise()
        for order in ("strict_order", "relaxed_order"):
            effort, its_recall = self.best_effort(rival, order)
            name = f"HNSW {order} ef {effort} (recall {its_recall:.3f})"
            with rival.scanning(order, effort):
                rows += [
                    self.beside(f"ids cached; {name}", self.ours, rival, floor=self.width.cached),
                    self.beside(
                        f"ids not cached; {name}",
                        self.ours_without_memory,
                        rival,
                        floor=self.width.read,
                    ),
                ]
        rows.append(self.beside("ids cached; its own plan", self.ours, rival, floor=0))
        rows.append(report.at_least(f"{self.width.percent:g} % left, fewest hits", self.fewest, K))
        return rows

    def best_effort(self, rival: Rival, order: str) -> tuple[int, float]:
        """Return the ef_search that comes nearest to RECALL, and its recall."""
        recalls = {}
        for effort in EFFORTS:
            with rival.scanning(order, effort):
                recalls[effort] = self.recall_of(lambda query: rival.search(query, self.width))
            if recalls[effort] >= RECALL:
                break
        effort = min(recalls, key=lambda tried: abs(recalls[tried] - RECALL))
        return effort, recalls[effort]


def median_steps(plans: list[Plan]) -> str:
    """Say what the steps of nearest() took, in milliseconds: where a figure comes from."""
    taken: dict[str, list[float]] = {}
    for plan in plans:
        for step in plan.steps:
            taken.setdefault(step.name, []).append(step.milliseconds)
    return "; ".join(f"{name} {np.median(times):.2f} ms" for name, times in taken.items())


def rows(space: Space, vectors: Float16s, ids: Ids, *, queries: int) -> list[Row]:
    report.tell("pgvector builds its HNSW")
    rival = Rival(vectors, ids)
    asked = text_like(vectors, queries, seed=4)
    found = []
    for width in WIDTHS:
        report.tell(f"filter that leaves {width.percent:g} %")
        found += Filtered(space, vectors, ids, width, asked).rows(rival)
    return found
