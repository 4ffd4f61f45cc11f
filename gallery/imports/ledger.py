"""What people do to imports: start, look, pause, resume, retry, undo.

Each change is one conditional UPDATE or happens under the run's row lock, so that two who press at
once do no more than one.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models import Count, QuerySet
from django.utils import timezone

from gallery import texts
from gallery.descriptions import Description
from gallery.importers import Source, SourceUnreadable, registry
from gallery.imports import waking
from gallery.imports.errors import ImportRefused
from gallery.models import ImportRun, ItemState, RunState

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser
    from django.contrib.auth.models import AnonymousUser

BRINGS_IN = (RunState.WAITING, RunState.RUNNING)
ACTIVE = (*BRINGS_IN, RunState.UNDOING)
UNFINISHED = (*BRINGS_IN, RunState.PAUSED, RunState.BROKEN)
FINISHED = (RunState.DONE, RunState.UNDONE)


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run is, in items."""

    by_state: Mapping[str, int]
    is_listed: bool  # until then more may come, and no end can be foretold
    per_second: float

    @property
    def total(self) -> int:
        return sum(self.by_state.values())

    @property
    def waiting(self) -> int:
        return self.by_state.get(ItemState.WAITING, 0)

    @property
    def done(self) -> int:
        return self.total - self.waiting

    @property
    def seconds_left(self) -> float | None:
        """Return how long the rest takes at this speed, None when nobody knows."""
        if not self.is_listed or not self.per_second:
            return None
        return self.waiting / self.per_second


def start(
    source: Source,
    owner: AbstractBaseUser,
    *,
    defaults: Description | None = None,
    is_dry_run: bool = False,
    is_unattended: bool = False,
) -> ImportRun:
    """Open a run of the source; an unattended one is taken up by the worker at once.

    Raise SourceUnreadable when the ledger cannot hold its name.
    """
    _check_name(source)
    run = ImportRun.objects.create(
        owner_id=owner.pk,
        source=source.kind,
        options=source.model_dump(mode="json"),
        place=source.place,
        title=source.title[:300],
        defaults=(defaults or Description()).to_json(),
        is_dry_run=is_dry_run,
        is_unattended=is_unattended,
        tally=_no_items(),
    )
    if is_unattended:
        transaction.on_commit(waking.wake)
    return run


def unfinished(
    source: Source, owner: AbstractBaseUser, *, defaults: Description, is_dry_run: bool
) -> ImportRun | None:
    """Return the newest run that would have done the same and has not come to its end."""
    runs = ImportRun.objects.filter(
        owner_id=owner.pk,
        source=source.kind,
        options=source.model_dump(mode="json"),
        defaults=defaults.to_json(),
        is_dry_run=is_dry_run,
        state__in=UNFINISHED,
    )
    return runs.order_by("-pk").first()


def visible_to(viewer: AbstractBaseUser | AnonymousUser) -> QuerySet[ImportRun]:
    """Return the viewer's own runs, the newest first; a superuser sees all."""
    # By the key that pages go on from: a clock that was set back must not hide any.
    runs = ImportRun.objects.select_related("owner").order_by("-pk")
    if getattr(viewer, "is_superuser", False):
        return runs
    return runs.filter(owner_id=viewer.pk) if viewer.is_authenticated else runs.none()


def counts(run: ImportRun, *, without: Collection[int] = ()) -> dict[str, int]:
    """Count a run's items by state, now; some of them may be left out by their primary keys."""
    items = run.items.exclude(pk__in=without) if without else run.items
    found = items.order_by().values_list("state").annotate(Count("pk"))
    return _no_items() | dict(found)


def progress(run: ImportRun) -> Progress:
    """Return how far the run was at its last sign of life, which costs no counting."""
    return Progress(
        by_state=_no_items() | run.tally,
        is_listed=run.is_listed,
        per_second=run.speed if run.state == RunState.RUNNING else 0.0,
    )


def is_left_alone(run: ImportRun) -> bool:
    """Whether the run waits for a command that is not there: it has died, or not begun."""
    is_leased = run.lease_until is not None and run.lease_until > timezone.now()
    return run.state in BRINGS_IN and not run.is_unattended and not is_leased


def stands_still(run: ImportRun) -> bool:
    """Whether it has to be resumed first: what waits in it is begun by nothing else."""
    return run.state in (RunState.PAUSED, RunState.BROKEN) or is_left_alone(run)


def pause(run: ImportRun) -> None:
    """Let its process end after the items in progress. Raise ImportRefused when it is over."""
    # What it waited for is not waited for any more.
    _move(run, of=BRINGS_IN, to=RunState.PAUSED, verb="paused", failure="")


def resume(run: ImportRun, *, is_unattended: bool = False) -> None:
    """Let a paused or stopped run go on: what changed in its source since is seen, too."""
    _check_worker_can(run, is_unattended=is_unattended)
    if run.state in BRINGS_IN:
        if is_unattended and not run.is_unattended:
            # Its command may have died: then the worker goes on, as soon as the lease has ended.
            ImportRun.objects.filter(pk=run.pk).update(is_unattended=True)
            run.refresh_from_db()
            transaction.on_commit(waking.wake)
        elif is_left_alone(run):
            ImportRun.objects.filter(pk=run.pk).update(is_listed=False)
            run.refresh_from_db()
        return
    _move(
        run,
        of=(RunState.PAUSED, RunState.BROKEN),
        to=RunState.WAITING,
        verb="resumed",
        is_listed=False,
        failure="",
        is_unattended=run.is_unattended or is_unattended,
    )


def undo(run: ImportRun) -> None:
    """Have all images removed that the run has brought, and nothing else."""
    if run.is_dry_run:
        raise ImportRefused("A dry run has brought nothing that could be undone.")
    if run.state == RunState.UNDONE:
        return
    _move(
        run,
        of=(*UNFINISHED, RunState.DONE),
        to=RunState.UNDOING,
        verb="undone",
        failure="",
        finished_at=None,
    )


@transaction.atomic
def retry_failed(run: ImportRun, *, is_unattended: bool = False) -> int:
    """Let all failed items wait again. Return how many. Raise ImportRefused."""
    _check_worker_can(run, is_unattended=is_unattended)
    locked = ImportRun.objects.select_for_update(of=("self",)).get(pk=run.pk)
    if is_left_alone(locked):
        raise ImportRefused("The command of this import has ended: resume it first.")
    if stands_still(locked):
        raise ImportRefused(f"{_cannot(locked, 'retried')} Resume it first.")
    if locked.state in (RunState.UNDOING, RunState.UNDONE):
        raise ImportRefused(_cannot(locked, "retried"))
    failed = locked.items.filter(state=ItemState.FAILED)
    n = failed.update(state=ItemState.WAITING, reason="", attempts=0, changed_at=timezone.now())
    if n:
        if locked.state != RunState.RUNNING:
            locked.state = RunState.WAITING
        locked.failure = ""
        locked.finished_at = None
        locked.is_unattended = locked.is_unattended or is_unattended
        locked.tally = counts(locked)
        locked.save(update_fields=["state", "failure", "finished_at", "is_unattended", "tally"])
        if locked.is_unattended:
            transaction.on_commit(waking.wake)
    run.refresh_from_db()
    return n


def _check_worker_can(run: ImportRun, *, is_unattended: bool) -> None:
    source = registry.SOURCES.get(run.source)
    if is_unattended and source is not None and source.is_endless:
        raise ImportRefused("Only the command that watches can go on with it: start it again.")


def _check_name(source: Source) -> None:
    options = json.dumps(source.model_dump(mode="json"), ensure_ascii=False)
    written = f"{source.place} {source.title} {options}"
    # Bytes of a path that are no UTF-8 come as halves of characters.
    if any("\ud800" <= one <= "\udfff" for one in written) or texts.holds_nul(options):
        raise SourceUnreadable("The name of the source is not valid text (UTF-8): rename it.")


def _move(
    run: ImportRun, *, of: tuple[RunState, ...], to: RunState, verb: str, **fields: object
) -> None:
    """Change the state of a run; whoever comes second finds it as wanted."""
    changed = ImportRun.objects.filter(pk=run.pk, state__in=of).update(state=to, **fields)
    run.refresh_from_db()
    if not changed and run.state != to:
        raise ImportRefused(_cannot(run, verb))
    if run.state == RunState.UNDOING or (run.is_unattended and run.state == RunState.WAITING):
        transaction.on_commit(waking.wake)


def _cannot(run: ImportRun, verb: str) -> str:
    return f"This import is {run.get_state_display().lower()}: it cannot be {verb}."


def _no_items() -> dict[str, int]:
    return dict.fromkeys(ItemState.values, 0)
