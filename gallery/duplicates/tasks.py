"""The task that compares new images. Beat sends it; nobody waits for it."""

from __future__ import annotations

import time

from celery import shared_task

from gallery.duplicates import grouping, waiting

SECONDS_AT_ONCE = 20  # then other upkeep has its turn


@shared_task
def compare_waiting() -> int:
    """Compare what waits, or as much as there is time for; what is left sends another message."""
    deadline = time.monotonic() + SECONDS_AT_ONCE
    compared = waiting.compare_waiting(goes_on=lambda: time.monotonic() < deadline)
    if waiting.is_due():
        compare_waiting.delay()
    return compared


@shared_task
def group_loose() -> int:
    """Group the pairs that lost their group; return how many there were. It reads all pairs."""
    deadline = time.monotonic() + SECONDS_AT_ONCE
    grouped = 0
    while time.monotonic() < deadline and (some := grouping.group_loose()):
        grouped += some
    return grouped
