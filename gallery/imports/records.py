"""Runs and items as plain values, the same for the API and the command line."""

from __future__ import annotations

from typing import Any

from django.utils import timezone

from gallery.imports import leases, ledger, waking
from gallery.models import ImportItem, ImportRun, ItemState, RunState

_ALWAYS = (ItemState.NEW, ItemState.HELD, ItemState.FAILED)
_ORDER = (*_ALWAYS, ItemState.SKIPPED, ItemState.WAITING, ItemState.UNDONE)


def summary(run: ImportRun) -> str:
    """Return how many items are in which state, in a sentence."""
    by_state = ledger.progress(run).by_state
    parts = [
        f"{by_state[state]:,} {state.label.lower()}"
        for state in _ORDER
        if by_state[state] or state in _ALWAYS
    ]
    text = ", ".join(parts)
    return f"Nothing was stored. Would be: {text}." if run.is_dry_run else f"{text}."


def notice(run: ImportRun) -> str:
    """Return why nobody works on a run that should be worked on; "" where somebody does."""
    is_leased = run.lease_until is not None and run.lease_until > timezone.now()
    if is_leased or run.state not in ledger.ACTIVE:
        return ""
    first = leases.goes_before(run).first() if leases.must_give_way(run) else None
    if first is not None:
        sentence = f"It waits until import {first.pk} of the same owner is undone."
        return sentence if waking.is_heard() else f"{sentence} {_without_worker(first)}"
    is_worker_s = run.is_unattended or run.state == RunState.UNDOING
    return _without_worker(run) if is_worker_s and not waking.is_heard() else ""


def _without_worker(run: ImportRun) -> str:
    doing = "undo" if run.state == RunState.UNDOING else "resume"
    return (
        "No worker that would do it was heard of lately: start one, or do it by "
        f"`bin/manage imports {doing} {run.pk}`."
    )


def of_run(run: ImportRun) -> dict[str, Any]:
    progress = ledger.progress(run)
    return {
        "id": str(run.uuid),
        "number": run.pk,
        "source": run.source,
        "title": run.title,
        "owner": run.owner.get_username(),
        "state": run.state,
        "failure": run.failure,
        "notice": notice(run),
        "is_dry_run": run.is_dry_run,
        "is_listed": run.is_listed,
        "counts": dict(progress.by_state),
        "total": progress.total,
        "per_second": round(progress.per_second, 2),
        "seconds_left": None if progress.seconds_left is None else round(progress.seconds_left),
        "worked_seconds": round(run.worked_seconds, 1),
        "created_at": run.created_at.isoformat(),
        "finished_at": run.finished_at.isoformat() if run.finished_at else None,
        "url": run.get_absolute_url(),
    }


def of_item(item: ImportItem) -> dict[str, Any]:
    return {
        "key": item.key,
        "name": item.name,
        "state": item.state,
        "reason": item.reason,
        "url": item.url,
        "image": str(item.image.uuid) if item.image else None,
    }
