"""The live index of this process: a snapshot, what has changed since, and one reference to both.

A view is never changed. Each refresh makes a new one and replaces the reference; a search takes
the reference once, at its start.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field, replace

import numpy as np
from django.conf import settings
from django.db import DatabaseError, InterfaceError, close_old_connections, connection

from embeddings import feed, snapshots
from embeddings.errors import EmbeddingsError, FeedLost, SnapshotBroken, TransactionOpen
from embeddings.feed import Changes, FeedPosition
from embeddings.indexes.contract import (
    Candidates,
    ExactIndex,
    IdSet,
    Mask,
    VectorIndex,
    join,
    mask_of,
)
from embeddings.indexes.faiss_flat import FaissFlat
from embeddings.models import AbstractEmbedding, Snapshot, Space
from embeddings.streams import stream_vectors
from embeddings.vectors import Ids, Vector, Vectors

log = logging.getLogger(__name__)

# What may end one refresh, but not the thread that does them.
_PASSING = (
    DatabaseError,
    InterfaceError,
    EmbeddingsError,
    MemoryError,
    OSError,
    RuntimeError,
    ValueError,
)


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
        base = snapshots.open_snapshot(snapshot)
        view = cls.over(base, snapshots.position_of(snapshot), snapshot.pk)
        recall = None if base.is_exact else snapshot.recall
        return replace(view, snapshot_id=snapshot.pk, recall=recall)

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
        """Return the view at the position of the changes."""
        if not len(changes):
            return replace(self, position=changes.position)
        touched = np.union1d(changes.ids, changes.gone)
        shadowed = np.union1d(self.shadowed, np.intersect1d(touched, self.base.ids))
        return replace(
            self,
            delta=self.delta.without(touched).joined_by(changes.ids, changes.vectors),
            shadowed=shadowed,
            alive=~mask_of(shadowed, self.base.ids) if len(shadowed) else None,
            position=changes.position,
        )


class LiveIndex:
    """The current view of one space of one vector table, kept up with the change feed."""

    def __init__(self, model: type[AbstractEmbedding], space: Space) -> None:
        self.model = model
        self.space = space
        self._view: View | None = None
        self._checked_at = 0.0  # monotonic seconds
        self._refreshing = threading.Lock()

    def view(self) -> View:
        """Return a view not older than twice the polling interval, refreshing it if need be.

        While another thread refreshes, the view at hand serves.
        """
        view = self._view
        is_due = time.monotonic() - self._checked_at > 2 * settings.INDEX_POLL_SECONDS
        if view is not None and (not is_due or not self._refreshing.acquire(blocking=False)):
            return view
        if view is None:
            self._refreshing.acquire()
        try:
            return self._refresh()
        finally:
            self._refreshing.release()

    def refresh(self) -> View:
        """Bring the view up to all that is committed now, and return it."""
        with self._refreshing:
            return self._refresh()

    @property
    def age_seconds(self) -> float | None:
        """Seconds since the view was last known to be current; None before the first one."""
        return None if self._view is None else time.monotonic() - self._checked_at

    def _refresh(self) -> View:
        if feed.has_uncommitted():
            # What is rolled back later leaves no trace in the feed, and would stay in the view.
            raise TransactionOpen("An index is not refreshed in a transaction that has written.")
        checked_at = time.monotonic()
        view = self._view
        if view is not None:
            view = self._newer_snapshot(view)
        try:
            view = self._caught_up(view if view is not None else self._load())
        except FeedLost as lost:
            log.warning("%s: %s Reading all vectors anew.", self.model._meta.db_table, lost)
            view = self._caught_up(self._read())
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

    def _load(self) -> View:
        newest = snapshots.newest_snapshot(self.model, self.space)
        if newest is not None:
            try:
                return View.of_snapshot(newest)
            except SnapshotBroken as broken:
                log.error("%s Reading all vectors from Postgres.", broken)
        return self._read()

    def _read(self) -> View:
        newest = snapshots.newest_snapshot(self.model, self.space)
        position = feed.position(self.model)
        base = FaissFlat.build(stream_vectors(self.model, self.space), self.space.dimensions)
        return View.over(base, position, newest.pk if newest else 0)


_indexes: dict[tuple[str, int], LiveIndex] = {}
_indexes_lock = threading.Lock()


def index_of(model: type[AbstractEmbedding], space: Space) -> LiveIndex:
    """Return this process's index of a space of a vector table."""
    key = (model._meta.db_table, space.pk)
    with _indexes_lock:
        if key not in _indexes:
            _indexes[key] = LiveIndex(model, space)
        return _indexes[key]


def forget_all() -> None:
    """Drop every index of this process; the next search loads anew."""
    with _indexes_lock:
        _indexes.clear()


def status(model: type[AbstractEmbedding], space: Space) -> str:
    """Return "" when the index of this process is there and current, else why not."""
    age = index_of(model, space).age_seconds
    if age is None:
        return "The index is being loaded."
    if age > max(10.0, 5 * settings.INDEX_POLL_SECONDS):
        return f"The index was last brought up to date {age:.0f} seconds ago."
    return ""


def keep_current() -> None:
    """Refresh all indexes of this process, for ever. Runs in a thread of a web process.

    A search then finds a current view and never waits for the feed.
    """
    while True:
        with _indexes_lock:
            indexes = list(_indexes.values())
        for index in indexes:
            try:
                index.refresh()
            except _PASSING as error:
                # Postgres has restarted, a disk is full: the next round tries anew.
                log.warning("The index could not be refreshed: %s", error)
                connection.close()
        close_old_connections()
        time.sleep(settings.INDEX_POLL_SECONDS)
