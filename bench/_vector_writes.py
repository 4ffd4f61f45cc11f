"""The row of writing vectors: as the worker ends its jobs, beside Django's bulk_create."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

import numpy as np

from bench import _library
from bench import _report as report
from bench._data import clustered
from bench._report import Row

if TYPE_CHECKING:
    from embeddings.jobs import Lease
    from embeddings.models import Space
    from embeddings.vectors import Ids, Vectors

FLOOR = 10.0


def row(n: int, *, at_once: int, rounds: int) -> Row:
    """Return vectors a second of both, at_once in a transaction.

    Ours deletes the jobs too, in the same statement.
    """
    report.tell("writing vectors")
    _library.empty()
    space = _library.make_space()
    vectors = clustered(n, seed=1)
    ids = _library.fill(space, vectors)
    given = vectors.astype(np.float32)
    ours, rival = [], []
    for _ in range(rounds):
        clear(space, ids)
        leases = claim(space, at_once)
        ours.append(n / report.seconds_of(lambda: finish(leases, ids, given)))  # noqa: B023
        clear(space, ids)
        rival.append(n / report.seconds_of(lambda: bulk_create(space, ids, given, at_once)))
    pair = (statistics.median(ours), statistics.median(rival))
    return Row(
        f"vectors written, {at_once:,} at once; bulk_create",
        f"{pair[0]:,.0f} /s",
        f"{pair[1]:,.0f} /s",
        pair[0] / pair[1],
        FLOOR,
    )


def clear(space: Space, ids: Ids) -> None:
    """Remove the vectors and queue the images again, outside of what is measured."""
    from django.db import connection

    from gallery.models import ImageEmbedding
    from gallery.subjects import IMAGES

    ImageEmbedding.objects.all().delete()
    IMAGES.queue.add(ids.tolist(), space)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
        cursor.execute("CHECKPOINT")


def claim(space: Space, at_once: int) -> list[Lease]:
    """Return leases of all jobs."""
    from gallery.subjects import IMAGES

    leases = []
    while (lease := IMAGES.queue.claim(space, at_once)) is not None:
        leases.append(lease)
    return leases


def finish(leases: list[Lease], ids: Ids, vectors: Vectors) -> None:
    from gallery.subjects import IMAGES

    place_by_id = {int(id_): place for place, id_ in enumerate(ids)}
    for lease in leases:
        places = [place_by_id[id_] for id_ in lease.subjects]
        written = IMAGES.queue.finish(lease, lease.subjects, vectors[places])
        assert len(written) == len(places)


def bulk_create(space: Space, ids: Ids, vectors: Vectors, at_once: int) -> None:
    from gallery.models import ImageEmbedding

    for start in range(0, len(ids), at_once):
        some = slice(start, start + at_once)
        ImageEmbedding.objects.bulk_create(
            ImageEmbedding(image_id=int(id_), space=space, vector=vector)
            for id_, vector in zip(ids[some], vectors[some], strict=True)
        )
