"""The workers' signs of life: keys in the cache that live for seconds, one a queue."""

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
UPKEEP_ALIVE = "semblance:upkeep-alive"
ALIVE_SECONDS = 20
BEAT_SECONDS = 5

log = logging.getLogger(__name__)


@worker_ready.connect
def begin(sender: Any, **_signal: Any) -> None:
    queues = sender.app.amqp.queues.consume_from
    key_by_queue = {
        settings.CELERY_TASK_DEFAULT_QUEUE: ALIVE,
        settings.UPKEEP_QUEUE: UPKEEP_ALIVE,
    }
    keys = [key for queue, key in key_by_queue.items() if queue in queues]
    # A thread, because a solo worker answers nobody while it encodes.
    threading.Thread(target=_beat, args=(keys,), name="sign of life", daemon=True).start()


def is_alive() -> bool:
    """Whether a worker that embeds gave a sign of life lately. Raise RedisError without Redis."""
    return cache.get(ALIVE) is not None


def does_upkeep() -> bool:
    """Whether a worker for imports and all upkeep gave one. Raise RedisError without Redis."""
    return cache.get(UPKEEP_ALIVE) is not None


def _beat(keys: list[str]) -> None:
    while True:
        try:
            cache.set_many(dict.fromkeys(keys, time.time()), timeout=ALIVE_SECONDS)
        except RedisError as error:
            log.warning("No sign of life: %s", error)
        time.sleep(BEAT_SECONDS)
