"""Works on a run: lists its source, opens what waits, stores it, says how far it is.

One process at a time has a run (`leases`). It may die at any line, and the next one goes on: what
is listed stays listed, what is stored is written down with its image, the rest waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from threading import Barrier, BrokenBarrierError
from typing import IO, Any, NamedTuple

from django.conf import settings
from django.db import connections, transaction
from django.db.models import F

from gallery.decoding import decoders
from gallery.errors import StorageAway, StorageUnavailable
from gallery.importers import SourceAway, SourceUnreadable, registry
from gallery.imports import emptiness, leases, ledger, listing, sent, undoing
from gallery.imports.ahead import Ahead
from gallery.imports.errors import DatabaseAway, LeaseLost
from gallery.imports.half_read import HalfRead
from gallery.imports.leases import Lease
from gallery.imports.ledger import Progress
from gallery.imports.listing import Reader
from gallery.imports.outages import Outage
from gallery.imports.restarts import patient
from gallery.imports.storing import Outcome, Storer, fail_hopeless
from gallery.models import ImportItem, ImportRun, ItemState, RunState

STORERS = 4  # at least: beside those that wait for a decoder, one hashes, and one for the disk
# Downloads mostly wait for others.
OPENERS = 16
SETTLE_SECONDS = 5.0
BARRIER_SECONDS = 30
LOOK_SECONDS = 0.1  # how often the loop looks around while threads work


@dataclass(frozen=True, kw_only=True)
class News:
    """What has happened since the last news."""

    progress: Progress
    outcomes: tuple[Outcome, ...] = ()
    waits: str = ""  # why nothing goes on, where it does not


Tell = Callable[[News], None]


def work(
    run: ImportRun,
    *,
    goes_on: Callable[[], bool] = lambda: True,
    tell: Tell = lambda _news: None,
    half_read: HalfRead | None = None,
) -> None:
    """Work on the run until it is done, stopped by others, or `goes_on` says no.

    With `half_read`, a source that is not read to its end then is read on from there the next time.
    The run is refreshed then, and its state says which. Raise ImportBusy when another process has
    it, LeaseLost when one has taken it, DatabaseAway; in all of them the run can go on later.
    """
    half_read = half_read or HalfRead(most=0)
    half_read.look(run)
    with _leased(run) as lease:
        try:
            if run.state == RunState.UNDOING:
                _undo(lease, goes_on, tell)
            elif not run.is_listed and run.attempts > settings.JOB_MAX_ATTEMPTS:
                patient(partial(lease.end, RunState.BROKEN, failure=_deadly()))
            else:
                _bring_in(lease, goes_on, tell, half_read)
        except (SourceUnreadable, StorageUnavailable) as error:
            patient(partial(lease.end, RunState.BROKEN, failure=str(error)))
    patient(run.refresh_from_db)
    half_read.left(run)
    tell(News(progress=ledger.progress(run)))


def _deadly() -> str:
    return (
        f"The import died {settings.JOB_MAX_ATTEMPTS} times while its source was being read; the "
        "server's log tells more."
    )


@contextmanager
def _leased(run: ImportRun) -> Iterator[Lease]:
    lease = patient(partial(leases.take, run))
    with ExitStack() as ending:
        ending.callback(patient, lease.give_back)
        try:
            yield lease
        except DatabaseAway:
            ending.pop_all()  # there is nobody to give it back to: it ends by itself
            raise


def _undo(lease: Lease, goes_on: Callable[[], bool], tell: Tell) -> None:
    run = lease.run
    while goes_on():
        undone = patient(partial(undoing.stop_waiting, run)) or patient(
            partial(undoing.take_back, run)
        )
        if not undone:
            patient(partial(undoing.remove_albums, run))
            patient(lease.recount)
            patient(partial(lease.end, RunState.UNDONE))
            return
        if lease.is_due:
            patient(lease.recount)
            patient(lease.keep)
            tell(News(progress=lease.progress()))


def _bring_in(lease: Lease, goes_on: Callable[[], bool], tell: Tell, half_read: HalfRead) -> None:
    sent.check(lease.run)
    source = registry.load(lease.run.source, lease.run.options)
    patient(partial(emptiness.check, lease.run, source))
    reader = None
    with ExitStack() as ending:
        if not lease.run.is_listed:
            reader = half_read.take(lease.run) or Reader(source, most=sent.most_items(lease.run))
            ending.callback(reader.stop)
        with _threads(OPENERS) as openers, _threads(_storers()) as storers:
            pools = Pools(openers, storers, _storers())
            _Work(lease, Storer(lease.run, source), reader, pools, tell).until_done(goes_on)
        if reader is not None and not goes_on() and half_read.keep(lease.run, reader):
            ending.pop_all()


def _storers() -> int:
    return max(STORERS, decoders.processes() + 2)


def _share() -> int:
    """Return how many items of one host may be opened at once: some threads are for others."""
    return min(settings.DOWNLOAD_HOST_CONCURRENCY, OPENERS - OPENERS // 4)


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
        self._ahead = Ahead(lease.run, share=_share())
        is_endless = storer.source.is_endless
        self._outage = Outage(is_endless=is_endless)
        self._list_outage = Outage(is_endless=is_endless)
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
        self._untouched += self._ahead.untouched()
        self._untouched += [item for future, item in self._opening.items() if future.cancel()]
        self._untouched += [item for future, item in self._storing.items() if future.cancel()]
        while self._opening or self._storing:
            # What stopped the run may stop others of its items, too: once is enough. And whoever
            # has lost the run comes to the end of what he has begun.
            with suppress(SourceUnreadable, StorageUnavailable, DatabaseAway, LeaseLost):
                self._collect(stores=False)
                if self._lease.is_due:  # a video takes minutes
                    patient(self._lease.keep, seconds=SETTLE_SECONDS)
        with suppress(DatabaseAway):
            _forget_attempts(self._untouched)

    def _is_listed(self) -> bool:
        return self._reader is None or self._reader.is_over

    def _is_idle(self) -> bool:
        return self._is_listed() and not (self._ahead or self._opening or self._storing)

    def _keep(self) -> bool:
        """Give a sign of life; return whether the run is still to be worked on."""
        state = patient(partial(self._lease.keep, is_listed=self._is_listed()))
        if self._lease.is_miscounted:
            self._recount()
        self._report()
        return state == RunState.RUNNING and not patient(partial(_must_give_way, self._lease))

    def _report(self) -> None:
        outcomes, waits = tuple(self._outcomes), self._lease.run.failure
        self._tell(News(progress=self._lease.progress(), outcomes=outcomes, waits=waits))
        self._outcomes.clear()

    def _list(self) -> None:
        """Write a batch of what the source has said, waiting for it where nothing else is to do."""
        if self._reader is None or self._waits:
            return
        is_busy = self._ahead or self._opening or self._storing
        try:
            items = self._reader.take(seconds=0 if is_busy else LOOK_SECONDS)
        except SourceAway as error:
            self._wait_for(error, self._list_outage)
            return
        # One that always fails after the same entries is away: only what is new ends that.
        if (items and self._write(items)) or self._reader.is_over:
            self._answers(self._list_outage)

    def _write(self, items: list[listing.Row]) -> bool:
        """Write rows into the ledger; return whether any of them is new or has changed."""
        written = patient(partial(listing.write, self._lease.run, items))
        self._ahead.look_again()
        if written is None:
            self._recount()
            self._ahead.begin_anew()
            return True
        self._lease.tally.update(written)
        return bool(written)

    def _fill(self) -> None:
        """Give the threads enough to do, and never more."""
        if self._waits:
            if not (self._opening or self._storing):
                time.sleep(LOOK_SECONDS)
            return
        while len(self._opening) + len(self._storing) < OPENERS + self._pools.width:
            is_idle = not (self._opening or self._storing)
            item = self._ahead.next(self._opening.values(), is_idle=is_idle)
            if item is None:
                return
            is_slow = bool(item.url) or self._storer.source.opens_slowly
            if not is_slow and len(self._storing) >= 2 * self._pools.width:
                self._ahead.put_back(item)
                return
            if is_slow:
                self._opening[self._pools.openers.submit(self._storer.open, item)] = item
            else:
                self._storing[self._pools.storers.submit(self._storer.open_and_store, item)] = item

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
            except (SourceAway, StorageAway) as error:
                _forget_attempts([item])
                self._ahead.begin_anew()
                self._wait_for(error, self._outage)
                continue
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

    @property
    def _waits(self) -> bool:
        return self._outage.is_on or self._list_outage.is_on

    def _wait_for(self, error: SourceAway | StorageAway, outage: Outage) -> None:
        """Ask nothing for a while. Raise the error when it has been too long."""
        outage.begin(error)
        if self._say(f"Waiting: {error}"):
            self._report()  # it may be over before the next sign of life

    def _answers(self, outage: Outage) -> None:
        outage.end()
        if not (self._outage.has_begun or self._list_outage.has_begun):
            self._say("")

    def _say(self, sentence: str) -> bool:
        """Say at the run what it waits for, "" when it goes on. Return whether that is new."""
        run = self._lease.run
        is_new, run.failure = run.failure != sentence, sentence
        if is_new or sentence:
            # One that was paused meanwhile waits for nothing; resumed, it has forgotten what for.
            ours = ImportRun.objects.filter(pk=run.pk, state__in=ledger.BRINGS_IN)
            patient(lambda: ours.exclude(failure=sentence).update(failure=sentence))
        return is_new

    def _took(self, outcome: Outcome) -> None:
        self._answers(self._outage)
        if outcome.state is None:
            self._recount()
            return
        self._lease.tally[ItemState.WAITING] -= 1
        self._lease.tally[outcome.state] += 1
        self._outcomes.append(outcome)

    def _recount(self) -> None:
        items = (*self._opening.values(), *self._storing.values())
        in_progress = [item.pk for item in items]
        patient(partial(self._lease.recount, in_progress=in_progress))

    def _finish(self) -> bool:
        """End the run, unless something waits again. Return whether the work is over."""
        state = patient(partial(self._lease.keep, is_listed=True))
        if state != RunState.RUNNING:
            return True
        if patient(partial(_finish, self._lease)):
            return True
        self._recount()
        self._ahead.look_again()
        return False


def _must_give_way(lease: Lease) -> bool:
    return leases.must_give_way(lease.run)


@transaction.atomic
def _finish(lease: Lease) -> bool:
    # The lock comes first: a retry that was quicker has its items waiting before we look.
    ImportRun.objects.select_for_update().get(pk=lease.run.pk)
    if lease.run.items.filter(state=ItemState.WAITING).exists():
        return False
    return lease.end(RunState.DONE)


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
