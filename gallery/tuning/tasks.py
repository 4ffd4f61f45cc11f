"""The task that proves precisions. Beat sends it; nobody waits for it."""

from __future__ import annotations

from celery import shared_task

from gallery.tuning import upkeep


@shared_task
def tune_due() -> bool:
    """Prove the precisions of one tower, if that is due; then other upkeep has its turn."""
    is_done = upkeep.tune_due()
    if is_done:
        tune_due.delay()
    return is_done
