"""Query vectors of late: what recall is measured with. They say not who asked, nor what."""

from __future__ import annotations

import logging
import threading
import time

from django.db import DatabaseError, InterfaceError, connection, transaction
from pgvector import HalfVector

from embeddings.models import QuerySample, Space
from embeddings.vectors import Vector

log = logging.getLogger(__name__)

EVERY_SECONDS = 1.0
KEPT = 1000  # rows a space
_PRUNED_EVERY = 50  # writes

_lock = threading.Lock()
_written = 0
_last_at = -EVERY_SECONDS  # monotonic seconds


def remember(space: Space, vector: Vector) -> None:
    """Keep a query vector (dimensions,), of unit length; at most one a second of this process.

    Never fails the search that calls it: what cannot be kept is let go. Inside a transaction
    nothing is written, because an error would end it, and a rollback would take the row.
    """
    if connection.in_atomic_block or not (number := _turn()):
        return
    try:
        # Committed as everything is: a transaction that a crash of Postgres takes back gives its
        # number to another one, whose changes no reader of the feed would see.
        with transaction.atomic():
            QuerySample.objects.create(space=space, vector=HalfVector(vector))
            if number % _PRUNED_EVERY == 1:
                prune(space)
    except (DatabaseError, InterfaceError) as error:
        log.warning("A query vector could not be kept: %s", error)


def prune(space: Space) -> None:
    """Delete all but the newest KEPT samples of a space."""
    newest = QuerySample.objects.filter(space=space).order_by("-asked_at", "-pk")
    oldest = newest.values_list("asked_at", flat=True)[KEPT : KEPT + 1].first()
    if oldest is not None:
        QuerySample.objects.filter(space=space, asked_at__lte=oldest).delete()


def _turn() -> int:
    """Return the number of this write, from 1; 0 when the last one was too short a while ago."""
    global _written, _last_at
    now = time.monotonic()
    if now - _last_at < EVERY_SECONDS:  # nearly always, and then without the lock
        return 0
    with _lock:
        if now - _last_at < EVERY_SECONDS:
            return 0
        _last_at = now
        _written += 1
        return _written
