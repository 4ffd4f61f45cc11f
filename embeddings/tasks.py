"""Tasks of the plugin. Each takes nothing or ids, calls one function, and may run twice."""

from __future__ import annotations

from datetime import timedelta

from celery import shared_task
from django.conf import settings

from embeddings import feed, snapshots
from embeddings.models import Space


@shared_task
def build_due_snapshots() -> int:
    """Build the snapshots that are missing or far behind. Return how many were built."""
    built = 0
    for model in feed.vector_tables():
        for space in Space.objects.exclude(state=Space.State.RETIRED):
            if snapshots.is_due(model, space):
                built += snapshots.build(model, space) is not None
    return built


@shared_task
def prune_feed() -> int:
    """Delete changes that every reader has long seen."""
    return feed.prune(timedelta(hours=settings.FEED_KEEP_HOURS))
