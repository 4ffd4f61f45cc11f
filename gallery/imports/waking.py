"""Tells a worker that an import waits. The message says nothing else: the ledger knows which."""

from __future__ import annotations

import logging

from celery import current_app
from django.core.cache import cache
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from gallery import worker

TASK = "gallery.imports.tasks.work_on_waiting"
# Set while a message is under way that no worker has begun: one is enough for any number of runs.
WOKEN = "semblance:imports-woken"
WOKEN_SECONDS = 30

log = logging.getLogger(__name__)


def wake() -> None:
    """Send the message. Call it after the commit; without Redis, beat's next kick does."""
    try:
        if cache.add(WOKEN, 1, timeout=WOKEN_SECONDS):
            current_app.send_task(TASK)
    except (OperationalError, RedisError) as error:
        log.warning("The worker could not be woken, it will look by itself soon: %s", error)


def awake() -> None:
    """A worker has begun: from now on a new run sends a message again."""
    cache.delete(WOKEN)


def is_heard() -> bool:
    """Whether there is a worker that would wake."""
    try:
        return worker.does_upkeep()
    except RedisError as error:
        log.warning("No worker can be heard of: %s", error)
        return False
