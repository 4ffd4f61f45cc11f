"""Tells the workers that an auto tag is new. The messages say no more: its row says the rest."""

from __future__ import annotations

import logging

from celery import current_app
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

ENCODE_TASK = "gallery.auto_tags.tasks.encode_prompts"
COMPARE_TASK = "gallery.auto_tags.tasks.suggest_tags"

log = logging.getLogger(__name__)


def wake() -> None:
    """Let prompts be encoded, and images compared then. Call it after the commit."""
    _send(ENCODE_TASK)


def wake_comparing() -> None:
    """Let images be compared with the auto tags whose prompts are encoded."""
    _send(COMPARE_TASK)


def _send(task: str) -> None:
    try:
        current_app.send_task(task)
    except (OperationalError, RedisError) as error:
        log.warning("The worker could not be woken, it will look by itself soon: %s", error)
