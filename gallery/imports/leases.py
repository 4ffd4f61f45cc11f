"""Who works on a run: one process at a time, and a dead one's time runs out."""

from __future__ import annotations

import json
import time
import uuid
from collections import Counter, deque
from collections.abc import Collection
from datetime import timedelta
from typing import Any

from django.db import connection
from django.db.models import Case, Exists, F, OuterRef, Q, QuerySet, Value, When
from django.db.models.functions import Coalesce, Now
from psycopg.types.json import Jsonb

from gallery.imports import ledger
from gallery.imports.errors import ImportBusy, LeaseLost
from gallery.imports.ledger import ACTIVE, BRINGS_IN, Progress
from gallery.models import ImportRun, ItemState, RunState

SECONDS = 30
TICK_SECONDS = 0.5
IDLE_TICK_SECONDS = 2.0  # where nothing has changed since
SPEED_SECONDS = 10.0  # the last so many say how fast it is
_GIVES_WAY = "Another import of the same owner is being undone first."

# A run that was paused and resumed between two signs of life simply goes on. A tally that is not
# the one we wrote is of a retry, and stays until we have counted what that has changed.
_KEEP = """
UPDATE gallery_importrun SET lease_until = now() + %(lease)s,
    tally = CASE WHEN tally = %(before)s THEN %(tally)s ELSE tally END,
    speed = %(speed)s, worked_seconds = worked_seconds + %(worked)s,
    is_listed = is_listed OR %(is_listed)s,
    attempts = CASE WHEN %(is_listed)s OR tally <> %(tally)s THEN 0 ELSE attempts END,
    state = CASE state WHEN 'waiting' THEN 'running' ELSE state END
WHERE id = %(run)s AND lease_token = %(token)s RETURNING state, tally
"""


class Lease:
    """A run that is this process's for as long as `keep` is called, and its tally."""

    def __init__(self, run: ImportRun, token: uuid.UUID) -> None:
        self.run = run
        self.token = token
        self.tally: Counter[str] = Counter(ledger.counts(run))
        self.speed = 0.0
        self._kept_at = time.monotonic()
        self._kept_tally: dict[str, int] = run.tally  # as the row has it
        self.is_miscounted = False  # whether others have changed items since they were counted
        self._seen: deque[tuple[float, int]] = deque([(self._kept_at, self.done)])

    @property
    def done(self) -> int:
        return self.tally.total() - self.tally["waiting"]

    @property
    def is_due(self) -> bool:
        """Whether it is time for a sign of life."""
        is_idle = self.tally == Counter(self._kept_tally)
        seconds = IDLE_TICK_SECONDS if is_idle else TICK_SECONDS
        return time.monotonic() - self._kept_at >= seconds

    def keep(self, *, is_listed: bool = False) -> RunState:
        """Give a sign of life and return the state that others may have put the run into.

        Raise LeaseLost when another process has it.
        """
        now = time.monotonic()
        self._measure(now)
        parameters: dict[str, Any] = {
            "lease": timedelta(seconds=SECONDS),
            "before": Jsonb(self._kept_tally),
            "tally": Jsonb(dict(self.tally)),
            "speed": self.speed,
            "worked": now - self._kept_at,
            "is_listed": is_listed,
            "run": self.run.pk,
            "token": self.token,
        }
        with connection.cursor() as cursor:
            cursor.execute(_KEEP, parameters)
            row = cursor.fetchone()
        if row is None:
            raise LeaseLost("Another process has taken over this import.")
        self._kept_at, self._kept_tally = now, json.loads(row[1])
        self.is_miscounted = self._kept_tally != dict(self.tally)
        self.run.is_listed = self.run.is_listed or is_listed
        return RunState(row[0])

    def recount(self, *, in_progress: Collection[int] = ()) -> None:
        """Count anew where it cannot be told what a statement, or somebody else, has changed.

        Items in progress wait, whatever has been written of them: that is counted when it is told.
        """
        self.tally = Counter(ledger.counts(self.run, without=in_progress))
        self.tally[ItemState.WAITING] += len(in_progress)

    def end(self, state: RunState, *, failure: str = "") -> bool:
        """Put the run into its last state, unless others did otherwise. Return whether it is."""
        ended = {"finished_at": Now()} if state in ledger.FINISHED else {}
        before = RunState.UNDOING if state == RunState.UNDONE else RunState.RUNNING
        ours = self._ours().filter(state=before)
        return bool(ours.update(state=state, failure=failure, **ended))

    def give_back(self) -> None:
        """Let others have the run, with its exact tally."""
        # Not NULL: whoever asks for the run that was worked on longest ago finds it by this.
        self._ours().update(
            lease_token=None, lease_until=Now(), tally=ledger.counts(self.run), attempts=0
        )

    def progress(self) -> Progress:
        return Progress(
            by_state=dict(self.tally), is_listed=self.run.is_listed, per_second=self.speed
        )

    def _ours(self) -> QuerySet[ImportRun]:
        return ImportRun.objects.filter(pk=self.run.pk, lease_token=self.token)

    def _measure(self, now: float) -> None:
        self._seen.append((now, self.done))
        while now - self._seen[0][0] > SPEED_SECONDS and len(self._seen) > 2:
            self._seen.popleft()
        (begin, before), (end, after) = self._seen[0], self._seen[-1]
        self.speed = max(0.0, (after - before) / (end - begin)) if end > begin else 0.0


def take(run: ImportRun) -> Lease:
    """Make the run ours. Raise ImportBusy when it is another's, or has nothing to do."""
    token = uuid.uuid4()
    taken = takeable(ImportRun.objects.filter(pk=run.pk)).update(
        lease_token=token,
        lease_until=Now() + timedelta(seconds=SECONDS),
        started_at=Coalesce("started_at", Now()),
        attempts=F("attempts") + 1,
        state=Case(When(state=RunState.WAITING, then=Value(RunState.RUNNING)), default=F("state")),
    )
    run.refresh_from_db()
    if not taken:
        if must_give_way(run):
            raise ImportBusy(_GIVES_WAY)
        if run.state in ACTIVE:
            raise ImportBusy("Another process works on this import.")
        raise ImportBusy(f"This import is {run.get_state_display().lower()}.")
    lease = Lease(run, token)
    # What is undone may have been so, and begun, while the row above was looked for.
    if must_give_way(run):
        lease.give_back()
        raise ImportBusy(_GIVES_WAY)
    return lease


def takeable(runs: QuerySet[ImportRun]) -> QuerySet[ImportRun]:
    """Keep the runs with something to do and nobody at it.

    What is being undone and what brings in, of one owner, never meet: an image that is found to be
    there already must not be gone a moment later.
    """
    # A lease from further ahead than leases go was given before the clock was set back.
    furthest = Now() + timedelta(seconds=2 * SECONDS)
    is_free = Q(lease_until=None) | Q(lease_until__lte=Now()) | Q(lease_until__gt=furthest)
    others = ImportRun.objects.filter(owner=OuterRef("owner")).exclude(pk=OuterRef("pk"))
    at_work = others.filter(
        ~is_free, state__in=(*BRINGS_IN, RunState.PAUSED), lease_token__isnull=False
    )
    is_alone = Case(
        When(state=RunState.UNDOING, then=~Exists(at_work)),
        default=~Exists(others.filter(state=RunState.UNDOING)),
    )
    return runs.filter(is_free, is_alone, state__in=ACTIVE)


def must_give_way(run: ImportRun) -> bool:
    """Whether the run brings in while another one of its owner is to be undone."""
    return run.state in BRINGS_IN and goes_before(run).exists()


def goes_before(run: ImportRun) -> QuerySet[ImportRun]:
    """Return the others of its owner that are being undone: until they are, it waits."""
    others = ImportRun.objects.filter(owner=run.owner_id).exclude(pk=run.pk)
    return others.filter(state=RunState.UNDOING).order_by("pk")
