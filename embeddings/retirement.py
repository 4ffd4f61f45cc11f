"""Removing what a retired space leaves behind: snapshots, jobs, vectors, and at last its row.

In batches, a transaction each: whoever dies between two has lost nothing, and the next one goes on.
A space that is filled again meanwhile keeps what is left of it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from django.apps import apps
from django.db import connection, models, transaction
from django.utils import timezone

from embeddings import feed, snapshots
from embeddings.models import AbstractEmbeddingJob, Space

# Searches that have begun in it come to their end, and processes hear of it.
GRACE_SECONDS = 120
AT_ONCE = 5000  # rows


def due() -> list[Space]:
    """Return the spaces that were retired so long ago that nobody reads them any more."""
    before = timezone.now() - timedelta(seconds=GRACE_SECONDS)
    return list(_being_removed().filter(retired_at__lte=before).order_by("pk"))


def remove(space: Space, *, goes_on: Callable[[], bool] = lambda: True) -> bool:
    """Remove a retired space with all that is its. Return whether it is gone.

    It stays when it is filled again, when told to end between two batches, and while an index of
    it is being built.
    """
    while _remove_some(space):
        if not goes_on():
            return False
    return _remove_rest(space)


@transaction.atomic
def _remove_some(space: Space) -> bool:
    """Remove the next rows of a table; False when none are left, or the space is in use again."""
    # Whoever fills it again waits for this batch, and no longer.
    if not _being_removed().filter(pk=space.pk).select_for_update(no_key=True).exists():
        return False
    return any(_delete(model, space) for model in _tables())


@transaction.atomic
def _remove_rest(space: Space) -> bool:
    # Waits for whoever is just writing a vector or a job of it: they refer to this row. Whoever
    # fills it again waits for us, or has its indexes left alone.
    if not _being_removed().filter(pk=space.pk).select_for_update().exists():
        return not Space.objects.filter(pk=space.pk).exists()
    if any(model._default_manager.filter(space=space).exists() for model in _tables()):
        return False  # a worker was quicker: the next round takes it
    if not all(snapshots.remove_all(model, space) for model in feed.vector_tables()):
        return False
    with connection.cursor() as cursor:
        # Nobody reads on from there.
        cursor.execute("DELETE FROM embeddings_change WHERE space_id = %s", [space.pk])
    space.delete()
    return True


def _delete(model: type[models.Model], space: Space) -> int:
    table = connection.ops.quote_name(model._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(
            f"DELETE FROM {table} WHERE id IN (SELECT id FROM {table} WHERE space_id = %s "
            "LIMIT %s FOR UPDATE SKIP LOCKED)",
            [space.pk, AT_ONCE],
        )
        return int(cursor.rowcount)


def _tables() -> list[type[models.Model]]:
    """Return jobs before vectors: what has no job gets no vector any more."""
    jobs = [model for model in apps.get_models() if issubclass(model, AbstractEmbeddingJob)]
    return [*jobs, *feed.vector_tables()]


def _being_removed() -> models.QuerySet[Space]:
    # One that was retired without a time, by an older version, keeps its vectors.
    return Space.objects.filter(state=Space.State.RETIRED, retired_at__isnull=False)
