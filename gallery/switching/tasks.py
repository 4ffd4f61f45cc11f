"""The task that opens new encoders. It takes minutes, and is not of the worker that embeds."""

from __future__ import annotations

import logging

from celery import shared_task
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from gallery import pipeline, tasks
from gallery.switching import filling

log = logging.getLogger(__name__)


@shared_task
def prepare_spaces() -> int:
    """Open the encoders that were named, and queue everything for them. Return how many."""
    prepared = filling.prepare_new()
    if prepared:
        pipeline.add_missing()
        tasks.wake()
    return prepared


def begin() -> None:
    """Tell a worker that there is an encoder to open. Call it after the commit."""
    try:
        prepare_spaces.delay()
    except (OperationalError, RedisError) as error:
        log.warning("The worker could not be told, it will look by itself soon: %s", error)
