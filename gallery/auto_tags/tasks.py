"""Tasks of auto tags: one where an encoder is loaded already, one where nobody waits."""

from __future__ import annotations

import time
from collections.abc import Callable

from celery import shared_task

from gallery.auto_tags import encoding, passes, waking

SECONDS_AT_ONCE = 20  # then other tasks have their turn


@shared_task
def encode_prompts() -> int:
    """Encode the prompts of new and changed auto tags. Return of how many."""
    encoded = encoding.encode_waiting(goes_on=_until(time.monotonic() + SECONDS_AT_ONCE))
    if encoded:
        waking.wake_comparing()
    return encoded


@shared_task
def suggest_tags() -> int:
    """Compare new images with auto tags, and all images with new auto tags.

    Return how many suggestions changed.
    """
    goes_on = _until(time.monotonic() + SECONDS_AT_ONCE)
    changed = passes.run(goes_on=goes_on)
    if not goes_on():
        waking.wake_comparing()
    return changed


def _until(deadline: float) -> Callable[[], bool]:
    return lambda: time.monotonic() < deadline
