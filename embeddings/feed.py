"""The change feed: what happened to the vector tables, in an order that no reader can miss.

Triggers write one row a changed vector, so COPY, raw SQL, cascades and the admin are all seen. A
reader does not remember a row number (transactions commit out of order, so rows would be lost)
but a Postgres snapshot: whatever was not visible in it is new. Where it stands is read first and
the current state of what changed last, so a change that falls between is applied now and once
more at the next reading: repeats and reordering do no harm.

Read it on the primary only. On a standby a snapshot may show a transaction before an older one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

import numpy as np
from django.apps import apps
from django.db import connection, transaction

from embeddings import touches
from embeddings.errors import FeedLost
from embeddings.models import AbstractEmbedding, Space
from embeddings.streams import read_vectors
from embeddings.vectors import Ids, Vectors

_PLACE = """
SELECT f.table_id, f.server = here.server, pg_current_snapshot()::text, concat_ws(':',
    -- of the machine and its history: a restored or promoted server numbers transactions anew
    here.server,
    left(pg_walfile_name(pg_current_wal_lsn()), 8),
    -- of its crashes, which begin the statistics anew: numbers of transactions that were not on
    -- disk yet, as of one that was rolled back, are given to others then
    extract(epoch FROM pg_stat_get_bgwriter_stat_reset_time()),
    -- of the table: dropped and made again, it is another one
    (SELECT oid FROM pg_database WHERE datname = current_database()),
    to_regclass(quote_ident(%(table)s))::oid,
    -- and of its triggers: one that slept for a while has been written anew (xmin)
    watch.identity,
    f.generation), watch.is_whole
FROM embeddings_feed f, (SELECT (pg_control_system()).system_identifier::text AS server) here, (
    SELECT string_agg(concat_ws('.', oid, xmin), ',' ORDER BY oid) AS identity,
        count(*) = 4 AS is_whole
    FROM pg_trigger WHERE tgrelid = to_regclass(quote_ident(%(table)s))
        AND tgname LIKE 'embeddings\\_note\\_%%' AND tgenabled = 'A') watch
WHERE f.table_name = %(table)s
"""

# One statement: the pruning mark must be as old as the changes that are read.
_CHANGED = """
SELECT pg_snapshot_xmin(%(since)s::pg_snapshot) >= f.pruned_to
    -- a position of the future: the server's files were put back to an older state
    AND pg_snapshot_xmax(%(since)s::pg_snapshot) <= pg_snapshot_xmax(pg_current_snapshot()), ARRAY(
    SELECT DISTINCT c.subject_id FROM embeddings_change c
    WHERE c.table_id = f.table_id AND c.space_id = %(space)s
      AND c.xid >= pg_snapshot_xmin(%(since)s::pg_snapshot)
      AND NOT pg_visible_in_snapshot(c.xid, %(since)s::pg_snapshot))
FROM embeddings_feed f WHERE f.table_id = %(table_id)s
"""

# Never beyond the oldest running transaction: its changes are not written yet.
_PRUNE = """
WITH mark AS (
    SELECT least(pg_snapshot_xmin(pg_current_snapshot()), old.xid) AS xid
    FROM (SELECT max(xid) AS xid FROM embeddings_change WHERE at < now() - %(keep)s::interval) old
    WHERE old.xid IS NOT NULL
), moved AS (
    UPDATE embeddings_feed SET pruned_to = greatest(pruned_to, mark.xid) FROM mark
)
DELETE FROM embeddings_change c USING mark WHERE c.xid < mark.xid
"""


@dataclass(frozen=True)
class FeedPosition:
    """A place in the feed. Positions of two identities cannot be compared."""

    identity: str
    snapshot: str  # pg_snapshot, as text


@dataclass(frozen=True)
class Changes:
    """What a reader applies to come from its position to this one."""

    position: FeedPosition
    ids: Ids  # changed and there
    vectors: Vectors  # their current vectors
    gone: Ids  # changed and no longer there

    def __len__(self) -> int:
        return len(self.ids) + len(self.gone)


class _Place(NamedTuple):
    table_id: int
    position: FeedPosition


class _PlaceRow(NamedTuple):
    table_id: int
    is_here: bool
    snapshot: str
    identity: str
    is_watched: bool


def vector_tables() -> list[type[AbstractEmbedding]]:
    """Every vector table of the project."""
    return [model for model in apps.get_models() if issubclass(model, AbstractEmbedding)]


def install_all(**_signal: object) -> None:
    """Put the triggers on every vector table that is there; called after each migrate."""
    for model in vector_tables():
        install(model)
    touches.install_all()


def install(model: type[AbstractEmbedding]) -> None:
    """Put the triggers on a vector table. May run any number of times, also at once."""
    table = connection.ops.quote_name(model._meta.db_table)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s), to_regclass('embeddings_feed')", [table])
        if None not in cursor.fetchone():  # else its migration is still to come
            cursor.execute(
                "SELECT embeddings_watch(%s::regclass, %s)", [table, model.subject_field().column]
            )


def position(model: type[AbstractEmbedding]) -> FeedPosition:
    """Return where the feed of a table stands now.

    Raise FeedLost when the table has no triggers, so that no change would be seen.
    """
    return _place(model).position


def changes(model: type[AbstractEmbedding], space: Space, since: FeedPosition) -> Changes:
    """Return what has changed in one space of a table since a position.

    Raise FeedLost when the feed does not reach back that far, or is another one (a restored
    database, a promoted standby, a truncated table): the reader must read the table anew.
    """
    changed, place = _changed(model, space, since)
    ids, vectors = read_vectors(model, space, only=changed)
    return Changes(place.position, ids, vectors, gone=np.setdiff1d(changed, ids))


def count_changes(model: type[AbstractEmbedding], space: Space, since: FeedPosition) -> int:
    """Return how many subjects have changed since a position. Raise FeedLost as changes() does."""
    return len(_changed(model, space, since)[0])


def has_uncommitted() -> bool:
    """Whether this thread is in a transaction that has written, and may yet be rolled back."""
    if not connection.in_atomic_block:
        return False
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_current_xact_id_if_assigned() IS NOT NULL")
        return bool(cursor.fetchone()[0])


def keeps_own_state() -> bool:
    """Whether this thread's transaction sees another state than what is committed now.

    It has written, or it keeps the snapshot of its beginning.
    """
    if not connection.in_atomic_block:
        return False
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_current_xact_id_if_assigned() IS NOT NULL "
            "OR current_setting('transaction_isolation') IN ('repeatable read', 'serializable')"
        )
        return bool(cursor.fetchone()[0])


def prune(keep: timedelta) -> int:
    """Delete changes older than `keep`; readers that were away for longer rebuild."""
    touches.prune(keep)
    with connection.cursor() as cursor:
        cursor.execute(_PRUNE, {"keep": f"{keep.total_seconds()} seconds"})
        return int(cursor.rowcount)


def _place(model: type[AbstractEmbedding]) -> _Place:
    row = _place_row(model)
    if row is not None and not row.is_here:
        install(model)  # the database was restored from another server
        row = _place_row(model)
    if row is None:
        raise FeedLost(f"{model._meta.db_table} has no change feed: run manage.py migrate.")
    if not row.is_watched:
        # Not ours to wake while someone loads data; until then nothing can be known to be current.
        raise FeedLost(f"The triggers of {model._meta.db_table} sleep: run manage.py migrate.")
    return _Place(row.table_id, FeedPosition(row.identity, row.snapshot))


def _place_row(model: type[AbstractEmbedding]) -> _PlaceRow | None:
    with connection.cursor() as cursor:
        cursor.execute(_PLACE, {"table": model._meta.db_table})
        row = cursor.fetchone()
    return _PlaceRow(*row) if row else None


def _changed(
    model: type[AbstractEmbedding], space: Space, since: FeedPosition
) -> tuple[Ids, _Place]:
    place = _place(model)
    if since.identity != place.position.identity:
        raise FeedLost("The feed is of another database, or begins anew.")
    with connection.cursor() as cursor:
        cursor.execute(
            _CHANGED,
            {"since": since.snapshot, "space": space.pk, "table_id": place.table_id},
        )
        reaches_back, changed = cursor.fetchone()
    if not reaches_back:
        raise FeedLost("The feed has been pruned beyond this position.")
    return np.array(sorted(changed), dtype=np.int64), place
