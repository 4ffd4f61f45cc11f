"""Tasks of the plugin. Each takes nothing or ids, calls one function, and may run twice."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import timedelta

from celery import shared_task
from django.conf import settings
from django.db import DatabaseError
from django.utils import timezone

from embeddings import feed, live, recall, retirement, snapshots
from embeddings.errors import EmbeddingsError
from embeddings.models import AbstractEmbedding, Snapshot, Space

log = logging.getLogger(__name__)

SECONDS_AT_ONCE = 20  # then other tasks have their turn

# What is wrong with one space of one table, and must not keep the others waiting.
_OF_ONE = (EmbeddingsError, DatabaseError, OSError, MemoryError, RuntimeError)


@shared_task
def build_due_snapshots() -> int:
    """Build the snapshots that are missing or far behind. Return how many were built."""
    snapshots.remove_orphans()
    return _sum_over_spaces(_build_due)


@shared_task
def measure_recall() -> int:
    """Measure every newest snapshot, with what changed since, on recent queries; store it.

    Return how many were measured.
    """
    return _sum_over_spaces(_measure)


@shared_task
def prune_feed() -> int:
    """Delete changes that every reader has long seen."""
    return feed.prune(timedelta(hours=settings.FEED_KEEP_HOURS))


@shared_task
def remove_retired() -> int:
    """Remove retired spaces, or as much of them as there is time for. Return how many are gone."""
    deadline = time.monotonic() + SECONDS_AT_ONCE
    gone = 0
    for space in retirement.due():
        gone += retirement.remove(space, goes_on=lambda: time.monotonic() < deadline)
    return gone


def _sum_over_spaces(work: Callable[[type[AbstractEmbedding], Space], int]) -> int:
    """Do some work for each space of each vector table, and return the sum.

    What fails is logged, and raised when the others are done.
    """
    total, failures = 0, []
    for model in feed.vector_tables():
        for space in Space.in_use():
            try:
                total += work(model, space)
            except _OF_ONE as error:
                log.error("%s in %s: %s", model._meta.db_table, space, error)
                failures.append(error)
    if failures:
        raise failures[0]
    return total


def _build_due(model: type[AbstractEmbedding], space: Space) -> int:
    if space.is_being_filled:
        return 0  # each index would be out of date when it is built, and takes its time from others
    built = 0
    # Twice after a cold start: what is built in seconds, then its better.
    while built < 2 and (kind := snapshots.due_kind(model, space)) is not None:
        if snapshots.build(model, space, kind=kind, wanted=kind) is None:
            break
        built += 1
    return built


def _measure(model: type[AbstractEmbedding], space: Space) -> int:
    found = live.recall_now(model, space)
    if found is None:
        return 0
    snapshot_id, share = found
    Snapshot.objects.filter(pk=snapshot_id).update(recall_now=share, measured_at=timezone.now())
    snapshot = Snapshot.objects.filter(pk=snapshot_id).first()
    if snapshot is not None and (sentence := recall.warning(snapshot)):
        log.warning("%s", sentence)
    return 1
