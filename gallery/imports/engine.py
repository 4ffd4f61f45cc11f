"""Works on a run: lists its source, opens what waits, stores it, says how far it is.

One process at a time has a run (`leases`). It may die at any line, and the next one goes on: what
is listed stays listed, what is stored is written down with its image, the rest waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from threading import Barrier, BrokenBarrierError
from typing import IO, Any, NamedTuple

from django.conf import settings
from django.db import connections, transaction
from django.db.models import F

from gallery.decoding import decoders
from gallery.errors import StorageUnavailable
from gallery.importers import SourceUnreadable, registry
from gallery.imports import leases, ledger, listing, sent, undoing
from gallery.imports.errors import DatabaseAway
from gallery.imports.leases import Lease
from gallery.imports.ledger import Progress
from gallery.imports.listing import Reader
from gallery.imports.patience import patient
from gallery.imports.storing import Outcome, Storer, fail_hopeless
from gallery.models import ImportItem, ImportRun, ItemState, RunState

STORERS = 3  # at least: beside those that wait for a decoder, one hashes and one writes
# Downloads mostly wait for others.
OPENERS = 16
CHUNK = 32  # items that are read from the ledger at once
SETTLE_SECONDS = 5.0
BARRIER_SECONDS = 30
LOOK_SECONDS = 0.1  # how often the loop looks around while threads work


@dataclass(frozen=True, kw_only=True)
class News:
    """What has happened since the last news."""

    progress: Progress
    outcomes: tuple[Outcome, ...] = ()


Tell = Callable[[News], None]


def work(
    run: ImportRun,
    *,
    goes_on: Callable[[], bool] = lambda: True,
    tell: Tell = lambda _news: None,
) -> None:
    """Work on the run until it is done, stopped by others, or `goes_on` says no.

    The run is refreshed then, and its state says which. Raise ImportBusy when another process has
    it, LeaseLost when one has taken it, DatabaseAway; in all of them the run can go on later.
    """
    with _leased(run) as lease:
        try:
            if run.state == RunState.UNDOING:
                _undo(lease, goes_on, tell)
            elif not run.is_listed and run.attempts > settings.JOB_MAX_ATTEMPTS:
                patient(partial(lease.end, RunState.BROKEN, failure=_deadly()))
            else:
                _bring_in(lease, goes_on, tell)
        except (SourceUnreadable, StorageUnavailable) as error:
            patient(partial(lease.end, RunState.BROKEN, failure=str(error)))
    patient(run.refresh_from_db)
    tell(News(progress=ledger.progress(run)))


def _deadly() -> str:
    return (
        f"The import died {settings.JOB_MAX_ATTEMPTS} times while its source was being read; the "
        "server's log tells more."
    )


@contextmanager
def _leased(run: ImportRun) -> Iterator[Lease]:
    lease = patient(partial(leases.take, run))
    try:
        yield lease
    except DatabaseAway:
        raise  # there is nobody to give it back to: it ends by itself
    except BaseException:
        patient(lease.give_back)
        raise
    patient(lease.give_back)


def _undo(lease: Lease, goes_on: Callable[[], bool], tell: Tell) -> None:
    run = lease.run
    while goes_on():
        undone = patient(partial(undoing.stop_waiting, run)) or patient(
            partial(undoing.take_back, run)
        )
        if not undone:
            patient(lease.recount)
            patient(partial(lease.end, RunState.UNDONE))
            return
        if lease.is_due:
            patient(lease.recount)
            patient(lease.keep)
            tell(News(progress=lease.progress()))


def _bring_in(lease: Lease, goes_on: Callable[[], bool], tell: Tell) -> None:
    sent.check(lease.run)
    source = registry.load(lease.run.source, lease.run.options)
    reader = None if lease.run.is_listed else Reader(source)
    try:
        with _threads(OPENERS) as openers, _threads(_storers()) as storers:
            pools = Pools(openers, storers, _storers())
            _Work(lease, Storer(lease.run, source), reader, pools, tell).until_done(goes_on)
    finally:
        if reader is not None:
            reader.stop()


def _storers() -> int:
    return max(STORERS, decoders.processes() + 1)


class Pools(NamedTuple):
    openers: ThreadPoolExecutor
    storers: ThreadPoolExecutor
    width: int  # threads that store


class _Work:
    """The loop of one process over one run. Only it writes to the run; threads take items."""

    def __init__(
        self, lease: Lease, storer: Storer, reader: Reader | None, pools: Pools, tell: Tell
    ) -> None:
        self._lease, self._storer, self._reader = lease, storer, reader
        self._pools = pools
        self._tell = tell
        self._opening: dict[Future[IO[bytes] | Outcome], ImportItem] = {}
        self._storing: dict[Future[Outcome], ImportItem] = {}
        self._ahead: deque[ImportItem] = deque()
        self._last_seen = 0  # primary key of the last item that was read from the ledger
        self._outcomes: list[Outcome] = []
        self._untouched: list[ImportItem] = []

    def until_done(self, goes_on: Callable[[], bool]) -> None:
        """Work until nothing is left, the run is no longer to be worked on, or not by us."""
        patient(partial(fail_hopeless, self._lease.run))
        patient(self._lease.recount)
        # What the one before has done until it died counts as progress.
        patient(self._lease.keep)
        try:
            while goes_on() and self._step():
                pass
        finally:
            self._settle()
            self._report()

    def _step(self) -> bool:
        """Do a little of everything; return whether there may be more to do."""
        self._list()
        if self._is_listed() and not self._lease.run.is_listed and not self._keep():
            return False
        self._fill()
        self._collect()
        if self._lease.is_due and not self._keep():
            return False
        return not (self._is_idle() and self._finish())

    def _settle(self) -> None:
        """Finish what is in progress, and let the rest wait as if it had not been touched."""
        self._untouched += self._ahead
        self._untouched += [item for future, item in self._opening.items() if future.cancel()]
        self._untouched += [item for future, item in self._storing.items() if future.cancel()]
        while self._opening or self._storing:
            # What stopped the run may stop others of its items, too: once is enough.
            with suppress(SourceUnreadable, StorageUnavailable, DatabaseAway):
                self._collect(stores=False)
        with suppress(DatabaseAway):
            _forget_attempts(self._untouched)

    def _is_listed(self) -> bool:
        return self._reader is None or self._reader.is_over

    def _is_idle(self) -> bool:
        return self._is_listed() and not (self._ahead or self._opening or self._storing)

    def _keep(self) -> bool:
        """Give a sign of life; return whether the run is still to be worked on."""
        state = patient(partial(self._lease.keep, is_listed=self._is_listed()))
        self._report()
        return state == RunState.RUNNING and not patient(partial(_must_give_way, self._lease))

    def _report(self) -> None:
        self._tell(News(progress=self._lease.progress(), outcomes=tuple(self._outcomes)))
        self._outcomes.clear()

    def _list(self) -> None:
        """Write a batch of what the source has said, waiting for it where nothing else is to do."""
        if self._reader is None:
            return
        is_busy = self._ahead or self._opening or self._storing
        items = self._reader.take(seconds=0 if is_busy else LOOK_SECONDS)
        if items:
            written = patient(partial(listing.write, self._lease.run, items))
            if written is None:
                patient(self._lease.recount)
                self._last_seen = 0
            else:
                self._lease.tally.update(written)

    def _fill(self) -> None:
        """Give the threads enough to do, and never more."""
        while len(self._opening) + len(self._storing) < OPENERS + self._pools.width:
            if not self._ahead and not self._read_ahead():
                return
            item = self._ahead[0]
            is_slow = bool(item.url) or self._storer.source.opens_slowly
            if not is_slow and len(self._storing) >= 2 * self._pools.width:
                return
            self._ahead.popleft()
            if is_slow:
                self._opening[self._pools.openers.submit(self._storer.open, item)] = item
            else:
                self._storing[self._pools.storers.submit(self._storer.open_and_store, item)] = item

    def _read_ahead(self) -> bool:
        """Read a chunk of items that wait; return whether there was one.

        Those that were open when a process died come last and one by one: the guilty one harms
        no neighbour.
        """
        waiting = self._lease.run.items.filter(state=ItemState.WAITING).order_by("pk")
        fresh = waiting.filter(attempts=0, pk__gt=self._last_seen)[:CHUNK]
        items = patient(lambda: list(fresh))
        if items:
            self._last_seen = items[-1].pk
        elif self._last_seen:
            self._last_seen = 0  # what came back meanwhile has lower keys
            return self._read_ahead()
        elif not (self._opening or self._storing):
            items = patient(lambda: list(waiting[:1]))
        self._ahead.extend(items)
        _count_attempts(items)
        return bool(items)

    def _collect(self, *, stores: bool = True) -> None:
        """Take what the threads have done, waiting a moment for it."""
        running: list[Future[Any]] = [*self._opening, *self._storing]
        if not running:
            return
        done, _ = wait(running, timeout=LOOK_SECONDS, return_when=FIRST_COMPLETED)
        for future in done:
            pending = self._storing if future in self._storing else self._opening
            item = pending.pop(future)
            if future.cancelled():
                continue
            try:
                result = future.result()
            except (SourceUnreadable, StorageUnavailable, DatabaseAway):
                self._untouched.append(item)  # it is not its fault
                raise
            if isinstance(result, Outcome):
                self._took(result)
            elif stores:
                self._storing[self._pools.storers.submit(self._storer.store, item, result)] = item
            else:
                result.close()
                self._untouched.append(item)

    def _took(self, outcome: Outcome) -> None:
        if outcome.state is None:
            patient(self._lease.recount)
            return
        self._lease.tally[ItemState.WAITING] -= 1
        self._lease.tally[outcome.state] += 1
        self._outcomes.append(outcome)

    def _finish(self) -> bool:
        """End the run, unless something waits again. Return whether the work is over."""
        state = patient(partial(self._lease.keep, is_listed=True))
        if state != RunState.RUNNING:
            return True
        return patient(partial(_finish, self._lease))


def _must_give_way(lease: Lease) -> bool:
    return leases.must_give_way(lease.run)


@transaction.atomic
def _finish(lease: Lease) -> bool:
    # The lock comes first: a retry that was quicker has its items waiting before we look.
    ImportRun.objects.select_for_update().get(pk=lease.run.pk)
    if lease.run.items.filter(state=ItemState.WAITING).exists():
        return False
    return lease.end(RunState.DONE)


def _count_attempts(items: list[ImportItem]) -> None:
    """Written down before they are opened, so that it is known after a death."""
    ids = [item.pk for item in items]
    if ids:
        touched = ImportItem.objects.filter(pk__in=ids)
        patient(lambda: touched.update(attempts=F("attempts") + 1))


def _forget_attempts(items: list[ImportItem]) -> None:
    ids = [item.pk for item in items]
    if ids:
        waiting = ImportItem.objects.filter(pk__in=ids, attempts__gt=0, state=ItemState.WAITING)
        # Not for long: without it they come one by one, and that is all.
        patient(lambda: waiting.update(attempts=F("attempts") - 1), seconds=SETTLE_SECONDS)


@contextmanager
def _threads(n: int) -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(n, thread_name_prefix="import") as pool:
        try:
            yield pool
        finally:
            # Django keeps a connection for every thread, which only that thread may close: the
            # barrier gives each of them exactly one of these.
            barrier = Barrier(n)
            try:
                for _ in range(n):
                    pool.submit(_close_connections, barrier)
            except RuntimeError:  # no more threads: those that are there must not wait for them
                barrier.abort()
                raise


def _close_connections(barrier: Barrier) -> None:
    with suppress(BrokenBarrierError):
        barrier.wait(timeout=BARRIER_SECONDS)
    connections.close_all()
