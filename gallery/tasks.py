"""Tasks of the gallery. A message only says that there is work; the job table says which."""

from __future__ import annotations

import logging
import time
from typing import cast

from celery import shared_task
from celery.worker import state
from django.core.cache import cache
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from embeddings.encoders import registry
from gallery import pipeline, spaces
from gallery.switching import progress

# Set while a message is under way that no worker has begun: one is enough for any number of jobs.
WOKEN = "semblance:woken"
WOKEN_SECONDS = 30
# Then other tasks have their turn: a snapshot that is due must not wait for a long import.
SECONDS_AT_ONCE = 20

log = logging.getLogger(__name__)


@shared_task
def embed_waiting() -> int:
    """Embed all that waits, or as much as the worker has time for before it ends."""
    registry.refresh()
    cache.delete(WOKEN)  # before the first claim: a job that comes later sends a message again
    registry.keep_only(spaces.current())
    deadline = time.monotonic() + SECONDS_AT_ONCE
    written = pipeline.embed_waiting(
        goes_on=lambda: not _is_ending() and time.monotonic() < deadline
    )
    # Where nothing could be done, as while the storage is away, beat's next kick is soon enough.
    if written and not _is_ending() and pipeline.is_due():
        wake()
    elif written:
        _note_filled()
    return written


@shared_task
def reconcile() -> int:
    """Park what keeps killing its worker, mend states, and find what nobody queued."""
    parked, mended, found = pipeline.park_lost(), pipeline.mend_states(), pipeline.add_missing()
    if found:
        wake()
    _note_filled()
    return parked + mended + found


def find_missing() -> None:
    """Have a worker find now what waits for a vector and has no job. Call it after the commit."""
    try:
        reconcile.delay()
    except (OperationalError, RedisError) as error:
        log.warning("The worker could not be told, it will look by itself soon: %s", error)


def wake() -> None:
    """Tell a worker that there is work. Call it after the commit.

    Without Redis nothing is lost: beat's next kick finds the job.
    """
    try:
        if cache.add(WOKEN, 1, timeout=WOKEN_SECONDS):
            embed_waiting.delay()
    except (OperationalError, RedisError) as error:
        log.warning("The worker could not be woken, it will look by itself soon: %s", error)


def _note_filled() -> None:
    beside = spaces.beside()
    if beside is not None and not beside.filled_at:
        progress.note_filled(beside)


def _is_ending() -> bool:
    # The type stubs know this variable only as it begins.
    return cast(object, state.should_stop) is not None
