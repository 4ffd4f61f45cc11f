"""Touches: has a table that a filter reads been written to since?

A trigger writes one row a (table, transaction). As with the change feed, a reader keeps a Postgres
snapshot and asks for what was not visible in it. There is nothing to fall behind: whoever cannot
be sure that nothing was written reads anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.apps import apps
from django.db import connection, transaction

# A table's old rows are replaced by one new row, which whoever has not seen the old ones has not
# seen either. And rows of the future came with a restore from another server; they mean nothing.
_PRUNE = """
WITH old AS (
    SELECT table_oid FROM embeddings_touch WHERE at < now() - %(keep)s::interval
    GROUP BY table_oid HAVING count(*) >= %(many)s
), foreign_rows AS (
    DELETE FROM embeddings_touch
    WHERE xid >= pg_snapshot_xmax(pg_current_snapshot()) AND xid <> pg_current_xact_id()
), instead AS (
    INSERT INTO embeddings_touch (table_oid) SELECT table_oid FROM old
    ON CONFLICT DO NOTHING
)
DELETE FROM embeddings_touch t USING old
WHERE t.table_oid = old.table_oid AND t.at < now() - %(keep)s::interval
    AND t.xid < pg_snapshot_xmax(pg_current_snapshot())
"""
MANY = 1000  # old rows of a table before they are replaced


@dataclass(frozen=True)
class TouchPosition:
    """A moment in the life of some tables. Positions of two identities cannot be compared."""

    identity: str
    snapshot: str  # pg_snapshot, as text


def watched_tables() -> set[str]:
    """Return the tables that filters may read and be remembered: their names in the database."""
    from embeddings.feed import vector_tables

    names = set()
    for model in vector_tables():
        names.add(str(model.subject_field().target_field.model._meta.db_table))
        names |= {apps.get_model(label)._meta.db_table for label in model.filter_tables}
    return names


def install_all() -> None:
    """Put the trigger on every watched table that is there."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('embeddings_touch')")
        if cursor.fetchone()[0] is None:
            return  # its migration is still to come
        for table in sorted(watched_tables()):
            cursor.execute(
                "SELECT embeddings_watch_touches(there) FROM to_regclass(%s) AS there "
                "WHERE there IS NOT NULL",
                [connection.ops.quote_name(table)],
            )


def position(tables: Sequence[str]) -> TouchPosition | None:
    """Return where some tables stand now; None unless all of them are watched.

    What is read after this holds at least all that was there.
    """
    return _place(tables, None)[0]


def position_since(
    tables: Sequence[str], since: TouchPosition
) -> tuple[TouchPosition | None, bool]:
    """Return where some tables stand now, and whether nothing was written to them since."""
    here, is_as_it_was = _place(tables, since.snapshot)
    return here, here is not None and here.identity == since.identity and is_as_it_was


def prune(keep: timedelta) -> int:
    """Delete touches older than `keep` where there are many; sets from before are read anew."""
    with connection.cursor() as cursor:
        cursor.execute(_PRUNE, {"keep": f"{keep.total_seconds()} seconds", "many": MANY})
        return int(cursor.rowcount)


def _place(tables: Sequence[str], since: str | None) -> tuple[TouchPosition | None, bool]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT * FROM embeddings_touch_position(%s, %s::pg_snapshot)", [list(tables), since]
        )
        is_watched, here, identity, is_as_it_was = cursor.fetchone()
    return (TouchPosition(identity, here) if is_watched else None), is_as_it_was
