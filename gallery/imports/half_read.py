"""Sources that are read half when the turn of their run is over: reading goes on in the next one.

Listing begins anew in every process. Without this a list that takes longer than a turn would never
come to its end, or would keep all others waiting.
"""

from __future__ import annotations

import atexit
import time
from dataclasses import dataclass
from datetime import datetime

from gallery.imports.listing import Reader
from gallery.models import ImportRun, RunState

KEPT = 4  # each holds some megabytes, a thread and a file or two
KEPT_SECONDS = 600.0


@dataclass
class _Kept:
    reader: Reader
    since: float
    left_at: datetime | None = None  # when its run was given back


class HalfRead:
    """The readers of one process that wait for the next turn of their runs."""

    def __init__(self, *, most: int = KEPT) -> None:
        self._most = most
        self._kept: dict[int, _Kept] = {}
        if most:
            atexit.register(self.forget)

    @property
    def has_room(self) -> bool:
        return len(self._kept) < self._most

    def look(self, run: ImportRun) -> None:
        """Forget the run's reader where others have had the run since, or it was resumed.

        The run must be as it was found, before it is leased.
        """
        kept = self._kept.get(run.pk)
        if kept is not None and (run.state, run.lease_until) != (RunState.RUNNING, kept.left_at):
            self._stop(run.pk)

    def take(self, run: ImportRun) -> Reader | None:
        """Return the run's reader, if there is one, to who stops it or gives it back."""
        kept = self._kept.pop(run.pk, None)
        return kept.reader if kept else None

    def keep(self, run: ImportRun, reader: Reader) -> bool:
        """Keep a reader for the next turn; return whether that is of use, and there is room."""
        if reader.is_over or not self.has_room:
            return False
        self._kept[run.pk] = _Kept(reader, time.monotonic())
        return True

    def left(self, run: ImportRun) -> None:
        """Note when the run was given back. It must be as the database has it."""
        if kept := self._kept.get(run.pk):
            kept.left_at = run.lease_until

    def forget(self, *, seconds: float = 0.0) -> None:
        """Stop the readers that have waited for so long."""
        oldest = time.monotonic() - seconds
        for run_id in [run_id for run_id, kept in self._kept.items() if kept.since <= oldest]:
            self._stop(run_id)

    def _stop(self, run_id: int) -> None:
        self._kept.pop(run_id).reader.stop()
