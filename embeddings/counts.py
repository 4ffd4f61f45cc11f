"""Counts that stay cheap however large a table grows: exact while small, then estimates."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.db.models import QuerySet

from embeddings import feed
from embeddings.errors import FeedLost
from embeddings.feed import vector_tables
from embeddings.models import Snapshot

EXACT_TO = 20_000  # rows; what it takes to count more is felt, and a share of a percent is not

# In the order of the primary key, so that the first row is the oldest, or nearly.
_MISSED = """
SELECT c.at FROM embeddings_change c
WHERE c.table_id = (SELECT table_id FROM embeddings_feed WHERE table_name = %s)
  AND c.space_id = %s AND c.xid >= pg_snapshot_xmin(%s::pg_snapshot)
  AND NOT pg_visible_in_snapshot(c.xid, %s::pg_snapshot)
"""
_CHANGES = "SELECT at FROM embeddings_change"
_AGE = "SELECT extract(epoch FROM clock_timestamp() - at) FROM ({}) AS change"


@dataclass(frozen=True)
class Lag:
    """How much of the change feed somebody has not seen."""

    changes: int
    seconds: float  # age of the oldest of them; 0.0 of none


def count(rows: QuerySet[Any]) -> int:
    """Return how many rows there are: exact to EXACT_TO, beyond that as Postgres estimates."""
    try:
        statement, parameters = rows.order_by().query.sql_with_params()
    except EmptyResultSet:  # Django knows that nothing can match
        return 0
    return _count(statement, parameters)


def feed_lag() -> Lag:
    """Return what the feed holds, seen or not: it is pruned, so this stays within bounds."""
    return _lag(_CHANGES, ())


def lag_of(snapshot: Snapshot) -> Lag | None:
    """Return what has changed since a snapshot; None when the feed is no longer the one it knew."""
    models = {model._meta.db_table: model for model in vector_tables()}
    try:
        here = feed.position(models[snapshot.table])
    except (FeedLost, KeyError):
        return None
    if here.identity != snapshot.feed_identity:
        return None
    seen = snapshot.feed_snapshot
    return _lag(_MISSED, (snapshot.table, snapshot.space_id, seen, seen))


def _lag(statement: str, parameters: tuple[Any, ...]) -> Lag:
    first = f"{statement} ORDER BY xid, seq LIMIT 1"
    with connection.cursor() as cursor:
        cursor.execute(_AGE.format(first), parameters)
        row = cursor.fetchone()
    # The clock of another server may be behind.
    return Lag(_count(statement, parameters), max(0.0, float(row[0])) if row else 0.0)


def _count(statement: str, parameters: tuple[Any, ...]) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT count(*) FROM ({statement} LIMIT {EXACT_TO + 1:d}) AS counted", parameters
        )
        counted = int(cursor.fetchone()[0])
        if counted <= EXACT_TO:
            return counted
        cursor.execute(f"EXPLAIN (FORMAT JSON) {statement}", parameters)
        plan = cursor.fetchone()[0]
    if isinstance(plan, str):
        plan = json.loads(plan)
    return max(counted, int(plan[0]["Plan"]["Plan Rows"]))
