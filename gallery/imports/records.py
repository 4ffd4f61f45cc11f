"""Runs and items as plain values, the same for the API and the command line."""

from __future__ import annotations

from typing import Any

from gallery.imports import ledger
from gallery.models import ImportItem, ImportRun, ItemState

_WORDS = {
    ItemState.NEW: "new",
    ItemState.HELD: "already there",
    ItemState.FAILED: "failed",
    ItemState.SKIPPED: "skipped",
    ItemState.WAITING: "waiting",
    ItemState.UNDONE: "undone",
}
_ALWAYS = (ItemState.NEW, ItemState.HELD, ItemState.FAILED)


def summary(run: ImportRun) -> str:
    """Return how many items are in which state, in a sentence."""
    by_state = ledger.progress(run).by_state
    parts = [
        f"{by_state[state]:,} {word}"
        for state, word in _WORDS.items()
        if by_state[state] or state in _ALWAYS
    ]
    text = ", ".join(parts)
    return f"Nothing was stored. Would be: {text}." if run.is_dry_run else f"{text}."


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
