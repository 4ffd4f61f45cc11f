"""Spaces as plain values, the same for the API, the command line and the page."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from redis.exceptions import RedisError

from embeddings.models import Space
from gallery import worker
from gallery.switching.progress import Progress, cost_of, lack_of, progress

NO_WORKER = (
    "No worker was heard of lately, so nothing is embedded: see that bin/start, or a worker, runs."
)
NO_UPKEEP = (
    "No worker for upkeep was heard of lately, so the encoder is not opened: see that bin/start, "
    "or such a worker, runs."
)


def all_spaces() -> list[Space]:
    """Return the spaces, the active one first, the retired last."""
    return list(Space.objects.order_by("state", "-pk"))


def state_of(space: Space, known: Progress) -> str:
    """Return what a space is, in a word or a few."""
    if space.state == Space.State.ACTIVE:
        return "active"
    if space.state == Space.State.RETIRED:
        return "being removed" if space.retired_at else "retired"
    if not space.is_prepared:
        return "not opened" if space.trouble else "paused" if space.is_paused else "opening"
    if space.is_paused:
        return "paused"
    if known.left:
        return "catching up" if space.filled_at else "filling"
    return "filled"


def notice_of(space: Space, known: Progress) -> str:
    """Return why nobody embeds for a space; "" where somebody does, or nothing is left."""
    if space.state == Space.State.RETIRED:
        return ""
    if not space.is_prepared:
        is_told = space.trouble or space.is_paused or _is_heard(worker.does_upkeep)
        return space.trouble if is_told else NO_UPKEEP
    # What was wrong when a worker last tried may be mended: where nothing is left, none tries.
    if space.is_paused or not known.left:
        return ""
    return space.trouble or ("" if has_worker() else NO_WORKER)


def has_worker() -> bool:
    """Whether a worker that embeds was heard of lately. One is of no use without Redis."""
    return _is_heard(worker.is_alive)


def _is_heard(asked: Callable[[], bool]) -> bool:
    try:
        return asked()
    except RedisError:
        return False


def of_space(space: Space) -> dict[str, Any]:
    """Return a space with its progress and cost."""
    known = progress(space)
    cost = cost_of(space, known)
    seconds_left = known.seconds_left
    return {
        "number": space.pk,
        "encoder": space.title,
        "revision": space.revision,
        "dimensions": space.dimensions,
        "state": state_of(space, known),
        "notice": notice_of(space, known),
        "counts": {
            count.kind: {
                "total": count.total,
                "embedded": count.done,
                "left": count.left,
                "failed": count.failed,
                "per_second": round(count.per_second, 2),
            }
            for count in known.counts
        },
        "lacks": dict(lack_of(space).count_by_kind),
        "seconds_left": None if seconds_left is None else round(seconds_left),
        "vector_bytes": cost.vector_bytes,
        "index_bytes": cost.index_bytes,
        "filled_in_seconds": cost.filled_in_seconds and round(cost.filled_in_seconds),
        "filled_at": _written(space.filled_at),
        "active_until": _written(space.active_until),
        "created_at": space.created_at.isoformat(),
    }


def _written(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
