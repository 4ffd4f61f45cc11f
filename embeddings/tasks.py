"""Tasks of the plugin. Each takes nothing or ids, calls one function, and may run twice."""

from __future__ import annotations

import logging
from datetime import timedelta

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from embeddings import feed, live, recall, snapshots
from embeddings.models import Snapshot, Space

log = logging.getLogger(__name__)


@shared_task
def build_due_snapshots() -> int:
    """Build the snapshots that are missing or far behind. Return how many were built."""
    built = 0
    for model in feed.vector_tables():
        for space in Space.objects.exclude(state=Space.State.RETIRED):
            # Twice after a cold start: what is built in seconds, then its better.
            for _ in range(2):
                kind = snapshots.due_kind(model, space)
                if kind is None:
                    break
                built += snapshots.build(model, space, kind=kind, wanted=kind) is not None
    return built


@shared_task
def measure_recall() -> int:
    """Measure every newest snapshot, with what changed since, on recent queries; store it.

    Return how many were measured.
    """
    measured = 0
    for model in feed.vector_tables():
        for space in Space.objects.exclude(state=Space.State.RETIRED):
            found = live.recall_now(model, space)
            if found is None:
                continue
            snapshot_id, share = found
            Snapshot.objects.filter(pk=snapshot_id).update(
                recall_now=share, measured_at=timezone.now()
            )
            snapshot = Snapshot.objects.filter(pk=snapshot_id).first()
            if snapshot is not None and (sentence := recall.warning(snapshot)):
                log.warning("%s", sentence)
            measured += 1
    return measured


@shared_task
def prune_feed() -> int:
    """Delete changes that every reader has long seen."""
    return feed.prune(timedelta(hours=settings.FEED_KEEP_HOURS))
