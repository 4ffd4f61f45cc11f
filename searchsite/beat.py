"""Celery's beat on a clock that may be set back."""

from __future__ import annotations

from typing import Any

from celery.beat import PersistentScheduler


class Scheduler(PersistentScheduler):
    """Goes on at once when the clock is set back; Celery's own waits until it is late again."""

    def tick(self, *given: Any, **named: Any) -> float:
        """Send what is due, as Celery's does, and return the seconds until the next."""
        was_set_back = False
        for entry in self.schedule.values():
            now = entry.default_now()
            if entry.last_run_at is not None and entry.last_run_at > now:
                entry.last_run_at = now
                was_set_back = True
        if was_set_back:
            self.populate_heap()
        return super().tick(*given, **named)
