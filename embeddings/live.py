"""The live index of this process: a snapshot, what has changed since, and one reference to both.

A view is never changed. Each refresh makes a new one and replaces the reference; a search takes
the reference once, at its start. Where there is no view, Postgres answers.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from dataclasses import dataclass, field, replace

import numpy as np
from django.conf import settings
from django.db import DatabaseError, InterfaceError, close_old_connections, connection

from embeddings import feed, snapshots
from embeddings.encoders import registry
from embeddings.errors import EmbeddingsError, FeedLost, SnapshotBroken, TransactionOpen
from embeddings.feed import Changes, FeedPosition
from embeddings.indexes import kinds
from embeddings.indexes.contract import Candidates, ExactIndex, IdSet, Mask, VectorIndex, join
from embeddings.indexes.faiss_index import FaissIndex
from embeddings.indexes.spool import Spool, sample
from embeddings.models import AbstractEmbedding, Snapshot, Space
from embeddings.recall import RecallProbe, probe_queries
from embeddings.streams import stream_vectors
from embeddings.vectors import Ids, Vector, Vectors

log = logging.getLogger(__name__)

WAIT_SECONDS = 60.0  # for another snapshot, before the same one is tried again

# What may end one refresh, but no search: Postgres answers.
_PASSING = (
    FeedLost, SnapshotBroken, TransactionOpen, MemoryError, OSError, RuntimeError, ValueError
)  # fmt: skip


@dataclass(frozen=True)
class View:
    """Every vector of a space as of one position of the feed."""

    base: VectorIndex
    delta: ExactIndex  # newer than the base, or changed since
    shadowed: Ids  # of the base: changed or gone since
    alive: Mask | None  # the same, as a mask over the base; None while nothing is shadowed
    position: FeedPosition
    known_snapshot_id: int  # the newest one looked at, used or not: it is not tried again
    snapshot_id: int | None = None  # of the base; None: read from Postgres
    recall: float | None = None  # of search(), measured when the base was built; None: exact
    # Fixed random vectors of the space, (n <= 2,000, d): what a query's scores are compared with.
    background: Vectors = field(default_factory=lambda: np.empty((0, 0), np.float32))

    @classmethod
    def over(cls, base: VectorIndex, position: FeedPosition, known_snapshot_id: int = 0) -> View:
        nothing = ExactIndex(np.empty(0, np.int64), np.empty((0, 0), np.float32))
        return cls(base, nothing, nothing.ids, None, position, known_snapshot_id)

    @classmethod
    def of_snapshot(cls, snapshot: Snapshot) -> View:
        """Raise SnapshotBroken unless its files are as they were written."""
        opened = snapshots.open_snapshot(snapshot)
        return replace(
            cls.over(opened.index, snapshots.position_of(snapshot), snapshot.pk),
            snapshot_id=snapshot.pk,
            recall=None if opened.index.is_exact else snapshot.recall,
            background=opened.background,
        )

    @classmethod
    def of_postgres(cls, flat: FaissIndex, position: FeedPosition, known_snapshot_id: int) -> View:
        """Return a view over vectors that were just read, without a snapshot."""
        background = sample(flat.halves(), snapshots.BACKGROUND)
        return replace(cls.over(flat, position, known_snapshot_id), background=background)

    def __len__(self) -> int:
        return len(self.base.ids) - len(self.shadowed) + len(self.delta)

    @property
    def is_exact(self) -> bool:
        return self.base.is_exact

    @property
    def scan_is_exact(self) -> bool:
        return self.base.scan_is_exact

    @property
    def title(self) -> str:
        """Kind and origin of the index, for people."""
        origin = f"snapshot {self.snapshot_id}" if self.snapshot_id else "read from Postgres"
        return f"{self.base.kind}, {origin}"

    def search(self, query: Vector, k: int) -> Candidates:
        """Return the k nearest; with an approximate index (see `recall`) nearly so."""
        found = self.base.search(query, k, allowed=self.alive)
        if not len(self.delta):
            return found
        return join(found, self.delta.search(query, k), k)

    def scan(self, query: Vector, k: int, *, among: IdSet | None = None) -> Candidates:
        """Return the k nearest of a set, or of all, with every vector looked at."""
        base_allowed, delta_allowed = self.alive, None
        if among is not None:
            in_base = among.mask_over(self.base.ids)
            base_allowed = in_base if self.alive is None else in_base & self.alive
            delta_allowed = among.mask_over(self.delta.ids)
        found = self.base.scan(query, k, allowed=base_allowed)
        if not len(self.delta):
            return found
        return join(found, self.delta.scan(query, k, allowed=delta_allowed), k)

    def changed_by(self, changes: Changes) -> View:
        """Return the view at the position of the changes. Costs what they and the delta cost."""
        if not len(changes):
            return replace(self, position=changes.position)
        touched = np.union1d(changes.ids, changes.gone)
        delta = self.delta.without(touched).joined_by(changes.ids, changes.vectors)
        shadowed, alive = self._shadowed_by(touched)
        return replace(self, delta=delta, shadowed=shadowed, alive=alive, position=changes.position)

    def _shadowed_by(self, touched: Ids) -> tuple[Ids, Mask | None]:
        ids = self.base.ids
        if not len(ids):
            return self.shadowed, self.alive
        places = np.minimum(np.searchsorted(ids, touched), len(ids) - 1)
        places = places[ids[places] == touched]
        if not len(places):
            return self.shadowed, self.alive
        # Of the whole base only this copy is made: a millionth of a second a thousand vectors.
        alive = np.ones(len(ids), np.bool_) if self.alive is None else self.alive.copy()
        alive[places] = False
        return np.union1d(self.shadowed, ids[places]), alive


class LiveIndex:
    """The current view of one space of one vector table, kept up with the change feed."""

    def __init__(self, model: type[AbstractEmbedding], space: Space) -> None:
        self.model = model
        self.space = space
        self._view: View | None = None
        self._checked_at = 0.0  # monotonic seconds
        self._is_tried = False
        self._tried_id = -1  # of the newest snapshot when nothing could be loaded
        self._again_at = 0.0  # monotonic seconds
        self._refreshing = threading.Lock()

    def is_of(self, space: Space) -> bool:
        """Whether it is of this space: a restored database may give a number to another one."""
        known = self.space
        return (known.pk, known.name, known.revision) == (space.pk, space.name, space.revision)

    def view(self) -> View | None:
        """Return the current view; None where there is none, and Postgres is to answer.

        There is none while it is loaded by another thread, when the feed has become another one,
        and when the last good refresh is INDEX_STALE_SECONDS ago. A process whose views nobody
        keeps current (see keep_current) refreshes here, in line, after two polling intervals.
        """
        view, age = self._view, time.monotonic() - self._checked_at
        if view is not None and age <= 2 * settings.INDEX_POLL_SECONDS:
            return view
        if _keeper.is_running:
            if not self._is_tried:
                _keeper.wanted.set()
        elif self._refreshing.acquire(blocking=False):
            try:
                return self._refresh()
            except _PASSING as error:
                log.warning("The index could not be refreshed: %s", error)
            finally:
                self._refreshing.release()
        return self._view if age <= stale_seconds() else None

    def refresh(self) -> View | None:
        """Bring the view up to all that is committed now, and return it.

        None when there are too many vectors to read them without a snapshot.
        """
        with self._refreshing:
            return self._refresh()

    @property
    def age_seconds(self) -> float | None:
        """Seconds since the view was last known to be current; None while there is none."""
        return None if self._view is None else time.monotonic() - self._checked_at

    def _refresh(self) -> View | None:
        if feed.has_uncommitted():
            # What is rolled back later leaves no trace in the feed, and would stay in the view.
            raise TransactionOpen("An index is not refreshed in a transaction that has written.")
        checked_at = time.monotonic()
        self._is_tried = True
        view = self._view
        try:
            if view is not None:
                view = self._caught_up(self._newer_snapshot(view))
        except FeedLost as lost:
            log.warning("%s: %s Loading the index anew.", self.model._meta.db_table, lost)
            # Before the new one is loaded: the old one may be of another database.
            self._view = view = None
        if view is None:
            view = self._load()
        self._view, self._checked_at = view, checked_at
        return view

    def _newer_snapshot(self, view: View) -> View:
        newest = snapshots.newest_snapshot(self.model, self.space)
        if newest is None or newest.pk <= view.known_snapshot_id:
            return view
        try:
            opened = View.of_snapshot(newest)
        except SnapshotBroken as broken:
            log.error("%s Serving on from the view at hand.", broken)
            return replace(view, known_snapshot_id=newest.pk)
        same_feed = opened.position.identity == view.position.identity
        return opened if same_feed else replace(view, known_snapshot_id=newest.pk)

    def _caught_up(self, view: View) -> View:
        return view.changed_by(feed.changes(self.model, self.space, view.position))

    def _load(self) -> View | None:
        newest = snapshots.newest_snapshot(self.model, self.space)
        known_id = newest.pk if newest else 0
        if known_id == self._tried_id and time.monotonic() < self._again_at:
            return None  # to read a large file, or to count many vectors, each second is felt
        if newest is not None:
            try:
                return self._caught_up(View.of_snapshot(newest))
            except (SnapshotBroken, FeedLost) as lost:
                log.error("%s Reading all vectors from Postgres.", lost)
        view = self._read(known_id)
        if view is None:
            self._tried_id, self._again_at = known_id, time.monotonic() + WAIT_SECONDS
            return None
        return self._caught_up(view)

    def _read(self, known_snapshot_id: int) -> View | None:
        """Read all vectors into this process; None when they would take too much of its memory."""
        n = self.model._default_manager.filter(space=self.space).count()
        if n * self.space.dimensions * 2 > kinds.memory_bytes(settings.INDEX_MEMORY_MB):
            log.warning("%d vectors wait for a snapshot; Postgres answers meanwhile.", n)
            return None
        position = feed.position(self.model)
        parts = stream_vectors(self.model, self.space)
        return View.of_postgres(
            FaissIndex.flat(parts, self.space.dimensions), position, known_snapshot_id
        )


class _Keeper:
    """The thread that keeps all views of this process current, as others see it."""

    def __init__(self) -> None:
        self.is_running = False
        self.wanted = threading.Event()  # a search found no view: do not sleep on


_keeper = _Keeper()
_indexes: dict[tuple[str, int], LiveIndex] = {}
_indexes_lock = threading.Lock()


def index_of(model: type[AbstractEmbedding], space: Space) -> LiveIndex:
    """Return this process's index of a space of a vector table."""
    key = (model._meta.db_table, space.pk)
    with _indexes_lock:
        index = _indexes.get(key)
        if index is None or not index.is_of(space):
            index = _indexes[key] = LiveIndex(model, space)
        return index


def forget_all() -> None:
    """Drop every index of this process; the next search loads anew."""
    with _indexes_lock:
        _indexes.clear()


def stale_seconds() -> float:
    """Return the age beyond which a view is not searched: never less than three polls."""
    return float(max(settings.INDEX_STALE_SECONDS, 3 * settings.INDEX_POLL_SECONDS))


def status(model: type[AbstractEmbedding], space: Space) -> str:
    """Return "" when the index of this process is there and current, else why not."""
    age = index_of(model, space).age_seconds
    if age is None:
        return "The index is being loaded."
    if age > max(10.0, 5 * settings.INDEX_POLL_SECONDS):
        return f"The index was last brought up to date {age:.0f} seconds ago."
    return ""


def recall_now(model: type[AbstractEmbedding], space: Space) -> tuple[int, float] | None:
    """Return (snapshot id, recall@10) of the live index against exact, on recent queries.

    Reads every vector. None without a snapshot that serves.
    """
    view = LiveIndex(model, space).refresh()
    if view is None or view.snapshot_id is None:
        return None
    root = snapshots.root_folder(model, space)
    spool = Spool.fill(stream_vectors(model, space), space.dimensions, root)
    return view.snapshot_id, RecallProbe(probe_queries(space, spool), spool).recall_of(
        view.search, scored=view.scan_is_exact
    )


def _begin_anew() -> None:
    """In a forked process: the thread that keeps views current is not in it, its locks may be."""
    global _keeper, _indexes, _indexes_lock
    _keeper, _indexes, _indexes_lock = _Keeper(), {}, threading.Lock()


os.register_at_fork(after_in_child=_begin_anew)


def keep_current() -> None:
    """Refresh all indexes of this process, for ever. Runs in a thread of a web process.

    A search then finds a current view and never waits for the feed, and the encoder in the
    precision that is proved.
    """
    _keeper.is_running = True
    try:
        while True:
            _keeper.wanted.clear()
            registry.refresh()
            refresh_all()
            _keeper.wanted.wait(settings.INDEX_POLL_SECONDS)
    finally:
        _keeper.is_running = False


def _in_use() -> list[LiveIndex]:
    with _indexes_lock:
        indexes = dict(_indexes)
    if not indexes:
        return []
    try:
        there = set(Space.objects.exclude(state=Space.State.RETIRED).values_list("pk", flat=True))
    except (DatabaseError, InterfaceError) as error:
        log.warning("Spaces could not be looked up: %s", error)
        connection.close()
        return []
    with _indexes_lock:
        for key in indexes:
            if key[1] not in there:
                _indexes.pop(key, None)
    return [index for key, index in indexes.items() if key[1] in there]


def refresh_all() -> None:
    """Refresh all indexes of this process once, and let go of those of retired spaces."""
    for index in _in_use():
        try:
            index.refresh()
        except (DatabaseError, InterfaceError, EmbeddingsError, *_PASSING) as error:
            # Postgres has restarted, a disk is full: the next round tries anew.
            log.warning("The index could not be refreshed: %s", error)
            connection.close()
    close_old_connections()
