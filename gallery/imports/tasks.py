"""Imports that a page or the API has started. A message says only that there is work."""

from __future__ import annotations

import logging
import time
from typing import cast

from celery import shared_task
from celery.worker import state
from django.db.models import F, Q

from gallery.imports import engine, half_read, leases, sent, waking
from gallery.imports.errors import DatabaseAway, ImportBusy, LeaseLost
from gallery.models import ImportRun, RunState

# Then other tasks, and other imports, have their turn.
SECONDS_AT_ONCE = 20

log = logging.getLogger(__name__)
_half_read = half_read.HalfRead()


@shared_task
def work_on_waiting() -> int:
    """Work on imports in turn for some seconds. Return on how many."""
    waking.awake()  # before the first is taken: one that comes later sends a message again
    _half_read.forget(seconds=half_read.KEPT_SECONDS)
    deadline = time.monotonic() + SECONDS_AT_ONCE
    worked = 0
    while time.monotonic() < deadline and not _is_ending():
        run = next_run()
        if run is None:
            break
        _work(run, deadline)
        worked += 1
    if worked and not _is_ending() and next_run() is not None:
        waking.wake()
    return worked


@shared_task
def remove_sent() -> int:
    """Remove sent sources that no import needs any more. Return how many."""
    return sent.remove_old()


def next_run() -> ImportRun | None:
    """Return the run that a worker should take up: the one that waits for longest."""
    ours = Q(is_unattended=True) | Q(state=RunState.UNDOING)
    runs = leases.takeable(ImportRun.objects.filter(ours))
    return runs.order_by(F("lease_until").asc(nulls_first=True), "pk").first()


def _work(run: ImportRun, deadline: float) -> None:
    def goes_on() -> bool:
        # Listing would begin anew: where it cannot be kept, it is let come to its end, unless it
        # waits for what is away.
        is_listing = not run.is_listed and run.state != RunState.UNDOING and not run.failure
        may_end = not is_listing or _half_read.has_room
        return not _is_ending() and not (may_end and time.monotonic() > deadline)

    try:
        engine.work(run, goes_on=goes_on, half_read=_half_read)
    except (ImportBusy, LeaseLost) as error:
        log.info("%s: %s", run, error)
    except DatabaseAway as error:
        log.warning("%s: %s", run, error)


def _is_ending() -> bool:
    # The type stubs know this variable only as it begins.
    return cast(object, state.should_stop) is not None
