"""The worker's sign of life: a key in the cache that lives for seconds."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from celery.signals import worker_ready
from django.conf import settings
from django.core.cache import cache
from redis.exceptions import RedisError

ALIVE = "semblance:worker-alive"
ALIVE_SECONDS = 20
BEAT_SECONDS = 5

log = logging.getLogger(__name__)


@worker_ready.connect
def begin(sender: Any, **_signal: Any) -> None:
    if settings.CELERY_TASK_DEFAULT_QUEUE not in sender.app.amqp.queues.consume_from:
        return  # it does the upkeep alone: images wait for another one
    # A thread, because a solo worker answers nobody while it encodes.
    threading.Thread(target=_beat, name="sign of life", daemon=True).start()


def is_alive() -> bool:
    """Whether a worker that embeds gave a sign of life lately. Raise RedisError without Redis."""
    return cache.get(ALIVE) is not None


def _beat() -> None:
    while True:
        try:
            cache.set(ALIVE, time.time(), timeout=ALIVE_SECONDS)
        except RedisError as error:
            log.warning("No sign of life: %s", error)
        time.sleep(BEAT_SECONDS)
