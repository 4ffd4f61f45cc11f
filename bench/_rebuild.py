"""From Postgres to an index: reading all vectors, and a process that starts."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from bench import _report as report
from bench._data import DIMENSIONS
from bench._report import Pair, Row

if TYPE_CHECKING:
    from bench._open import Usual
    from embeddings.models import Space

ROOT = Path(__file__).resolve().parent.parent
ORM_ROWS = 50_000  # read by the rival, by rows a second the same as more of them
WITH_SNAPSHOT, WITHOUT = 5.0, 60.0  # seconds to the first answer


def reading(space: Space, n: int, *, runs: int) -> Row:
    """Read all vectors into numpy; the ORM reads some, and its time is scaled up."""
    from embeddings.streams import stream_vectors
    from gallery.models import ImageEmbedding

    def ours() -> None:
        assert sum(len(ids) for ids, _ in stream_vectors(ImageEmbedding, space)) == n

    some = min(n, ORM_ROWS)

    def rival() -> None:
        pairs = ImageEmbedding.objects.filter(space=space).values_list("image_id", "vector")
        vectors = np.empty((some, DIMENSIONS), np.float32)
        for place, (_, vector) in enumerate(islice(pairs.iterator(2000), some)):
            vectors[place] = vector

    pair = report.medians(ours, rival, runs=runs)
    scaled = Pair(pair.ours, pair.rival * n / some)
    return report.faster(
        f"{n:,}: all vectors to numpy; the ORM's values_list",
        scaled,
        floor=8,
        limit=report.of_bandwidth(n * DIMENSIONS * 2, pair.ours),
    )


def starting(space: Space, usual: Usual) -> list[Row]:
    """Time a fresh process to its first right answer, with the newest snapshot and without any."""
    from django.conf import settings

    from embeddings.models import Snapshot

    rows = [_row(space, usual, "with a snapshot", WITH_SNAPSHOT)]
    Snapshot.objects.all().delete()
    shutil.rmtree(settings.INDEX_DIR)
    rows.append(_row(space, usual, "without one", WITHOUT))
    return rows


def _row(space: Space, usual: Usual, what: str, most: float) -> Row:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "queries.npy"
        np.save(file, usual.queries)
        answers: list[str] = []
        seconds = report.seconds_of(
            lambda: answers.append(
                subprocess.run(
                    [sys.executable, "-m", "bench._start", str(space.pk), str(file), "0"],
                    cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True,
                ).stdout
            )
        )  # fmt: skip
    answer = json.loads(answers[0])
    found = np.searchsorted(usual.ids, answer["ids"])
    if len(np.intersect1d(found, usual.true[0])) < 9:
        sys.exit(f"A process that started {what} answered wrongly: {answer}")
    return report.at_most(
        f"{len(usual):,}: start to first answer {what} ({answer['index'] or answer['route']})",
        seconds,
        most,
        "s",
    )
