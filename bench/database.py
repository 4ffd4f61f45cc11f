"""Vectors between Postgres and FAISS, each beside the way it is usually done.

    .venv/bin/python bench/database.py [--quick] [--json]

Data: clustered unit vectors of 512 dimensions, seed 0, on an embedded Postgres of its own.
Rivals: Django's ORM, pgvector's `vector` type, its HNSW at default settings, FAISS
IndexFlatIP as most CLIP + FAISS programs use it. One thread.
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ |= {"OMP_NUM_THREADS": "1", "ENCODER": "bundled", "LOG_LEVEL": "WARNING"}
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "searchsite.settings")

import numpy as np

from bench import _report as report
from bench._report import Row
from launcher.environment import embedded_servers, temporary_data_dir

DIMENSIONS = 512
K = 10


def main() -> None:
    given = report.options(__doc__ or "")
    n, runs = (10_000, 5) if given.is_quick else (100_000, 15)
    with ExitStack() as stack:
        os.environ["DATA_DIR"] = str(stack.enter_context(temporary_data_dir()))
        os.environ.update(stack.enter_context(embedded_servers(os.environ)))
        import django

        django.setup()
        rows = Library(n).measured(runs)
    report.show(rows, given)


def clustered(n: int, *, seed: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return n unit vectors around some hundred centres, as images of some hundred subjects are."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(200, DIMENSIONS))
    vectors = centres[random.integers(200, size=n)] + random.normal(size=(n, DIMENSIONS))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


class Library:
    """n images with vectors in Postgres, and a second table as pgvector's first page makes one."""

    def __init__(self, n: int) -> None:
        from django.contrib.auth.models import User
        from django.core.management import call_command
        from django.db import connection

        from embeddings.models import Space
        from gallery.models import Image

        call_command("migrate", verbosity=0)
        self.n = n
        self.vectors = clustered(n, seed=1)
        self.queries = clustered(20, seed=2)
        self.space = Space.objects.create(
            name="numbers", revision="1", dimensions=DIMENSIONS, state=Space.State.ACTIVE
        )
        owner = User.objects.create(username="bench")
        Image.objects.bulk_create(
            [
                Image(
                    owner=owner, sha256=f"{i:064d}", mime_type="image/png", width=1, height=1,
                    bytes=1, visibility="public", state="ready", category=str(i % 1000),
                )
                for i in range(n)
            ],
            batch_size=5000,
        )  # fmt: skip
        self.ids = list(Image.objects.order_by("pk").values_list("pk", flat=True))
        with connection.cursor() as cursor:
            copy = "COPY gallery_imageembedding (image_id, space_id, vector) FROM STDIN"
            with cursor.copy(copy) as rows:
                for id_, vector in zip(self.ids, self.vectors, strict=True):
                    rows.write_row((id_, self.space.pk, str(vector.tolist())))
            cursor.execute(
                f"CREATE TABLE usual (id bigint PRIMARY KEY, vector vector({DIMENSIONS}))"
            )
            cursor.execute(
                "INSERT INTO usual SELECT image_id, vector::vector FROM gallery_imageembedding"
            )
            cursor.execute("CREATE INDEX ON usual USING hnsw (vector vector_cosine_ops)")
            cursor.execute("VACUUM ANALYZE")

    def measured(self, runs: int) -> list[Row]:
        return [
            self.reading_vectors(runs=3),
            self.reading_ids(runs),
            self.exact_scan(runs),
            self.open_search(runs),
            *self.recall_under_filters(),
        ]

    def reading_vectors(self, runs: int) -> Row:
        from embeddings.streams import stream_vectors
        from gallery.models import ImageEmbedding

        def rival() -> None:
            pairs = list(ImageEmbedding.objects.values_list("image_id", "vector"))
            np.array([vector for _, vector in pairs], dtype=np.float32)

        pair = report.medians(
            lambda: list(stream_vectors(ImageEmbedding, self.space)), rival, runs=runs
        )
        return report.faster("all vectors to numpy: COPY, ORM", pair, floor=4)

    def reading_ids(self, runs: int) -> Row:
        from embeddings.streams import read_ids
        from gallery.models import Image

        half = Image.objects.filter(category__lt="5")
        pair = report.medians(
            lambda: read_ids(half),
            lambda: np.array(list(half.values_list("pk", flat=True))),
            runs=runs,
        )
        return report.faster("half of the ids: one value, ORM", pair, floor=1)

    def exact_scan(self, runs: int) -> Row:
        from django.db import connection

        from embeddings.nearest import nearest_exactly
        from gallery.models import ImageEmbedding

        def rival() -> None:
            with connection.cursor() as cursor:
                cursor.execute("SET enable_indexscan = off")
                cursor.execute(
                    f"SELECT id FROM usual ORDER BY vector <=> %s::vector LIMIT {K}",
                    [str(self.queries[0].tolist())],
                )
                cursor.execute("RESET enable_indexscan")

        pair = report.medians(
            lambda: nearest_exactly(ImageEmbedding, self.space, self.queries[0], k=K),
            rival,
            runs=runs,
        )
        return report.faster("exact in Postgres: halfvec, vector", pair, floor=1.2)

    def open_search(self, runs: int) -> Row:
        import faiss

        from embeddings import live
        from embeddings.nearest import nearest
        from gallery.models import ImageEmbedding

        usual = faiss.IndexFlatIP(DIMENSIONS)
        usual.add(self.vectors)
        index = live.index_of(ImageEmbedding, self.space)
        index.refresh()
        pair = report.medians(
            lambda: nearest(ImageEmbedding, self.space, self.queries[0], k=K),
            lambda: usual.search(self.queries[:1], K),
            runs=runs,
        )
        scanned = self.n * DIMENSIONS * 2  # bytes
        share = scanned / bandwidth() / pair.ours
        return report.faster(
            "nearest(), no filter: ours with read-back, IndexFlatIP",
            pair,
            floor=0.2 if self.n < 50_000 else 0.8,
            limit=f"{scanned / 1e6:.0f} MB scanned: {share:.0%} of memory bandwidth",
        )

    def recall_under_filters(self) -> list[Row]:
        from embeddings.nearest import nearest, nearest_exactly
        from gallery.models import Image, ImageEmbedding

        rows = []
        for percent, categories in ((10, 100), (1, 10)):
            within = Image.objects.filter(category__in=[str(i) for i in range(categories)])
            ours = rival = 0
            for query in self.queries:
                true = set(
                    nearest_exactly(ImageEmbedding, self.space, query, k=K, within=within).ids
                )
                found = nearest(ImageEmbedding, self.space, query, k=K, within=within)
                ours += len(true & set(found.ids))
                rival += len(true & set(self.usual_filtered(query, categories)))
            wanted = K * len(self.queries)
            rows.append(
                Row(
                    f"recall@10, filter leaves {percent} %: ours, HNSW without iterative scan",
                    f"{ours / wanted:.3f}", f"{rival / wanted:.3f}",
                    ours / max(rival, 1), 1.0,
                )
            )  # fmt: skip
        return rows

    def usual_filtered(self, query: Any, categories: int) -> list[int]:
        from django.db import connection

        with connection.cursor() as cursor:
            # What a planner that does not know the filter's share does: the index, then the filter.
            cursor.execute("SET enable_seqscan = off; SET enable_sort = off")
            cursor.execute(
                "SELECT usual.id FROM usual JOIN gallery_image i ON i.id = usual.id "
                "WHERE i.category = ANY(%s) ORDER BY usual.vector <=> %s::vector LIMIT %s",
                [[str(i) for i in range(categories)], str(query.tolist()), K],
            )
            found = [row[0] for row in cursor.fetchall()]
            cursor.execute("RESET enable_seqscan; RESET enable_sort")
        return found


def bandwidth() -> float:
    """Return the bytes a second that one thread reads from memory, best of five."""
    block = np.ones(32_000_000, dtype=np.float64)
    return max(block.nbytes / report.medians(block.sum, int, runs=1).ours for _ in range(5))


if __name__ == "__main__":
    main()
