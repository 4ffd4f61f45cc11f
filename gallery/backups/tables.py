"""The rows of all tables, out of one snapshot of the database and into an empty one, by COPY.

Not by pg_dump: its program is not in every installation and must not be older than the server,
and what it writes is SQL, which would do whatever a stranger's backup says. Here only data travels;
the tables are made by the migrations.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from graphlib import CycleError, TopologicalSorter
from typing import Any, Literal

from django.db import DatabaseError, connection, transaction
from django.db.migrations.executor import MigrationExecutor
from psycopg import sql

from gallery.backups.archive import Archive, Member, Writer
from gallery.backups.errors import BackupBroken, BackupNotMade, RestoreRefused
from gallery.backups.manifest import DATABASE, PART_BYTES, Column, Part, Sequence, Table

# Not kept: logins, and indexes, whose files are built anew.
LEFT_OUT = frozenset({"django_session", "embeddings_snapshot"})
# Nor ever written: what Postgres and the migrations keep about themselves.
_ALIEN = LEFT_OUT | {
    "django_migrations", "embeddings_feed", "embeddings_change", "embeddings_touch"
}  # fmt: skip
_BINARY = ("halfvec", "vector", "sparsevec")  # as text they would be five times as long

_COLUMNS = """
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
WHERE attrelid = to_regclass(quote_ident(%s)) AND attnum > 0 AND NOT attisdropped
  AND attgenerated = '' ORDER BY attnum
"""
_SEQUENCES = """
SELECT c.relname, a.attname, pg_get_serial_sequence(quote_ident(c.relname), a.attname)
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.oid = ANY (SELECT to_regclass(quote_ident(name)) FROM unnest(%s::text[]) AS name)
  AND a.attnum > 0 AND NOT a.attisdropped
  AND pg_get_serial_sequence(quote_ident(c.relname), a.attname) IS NOT NULL
ORDER BY 1, 2
"""
_REFERENCES = """
SELECT t.relname, r.relname FROM pg_constraint k
JOIN pg_class t ON t.oid = k.conrelid JOIN pg_class r ON r.oid = k.confrelid
WHERE k.contype = 'f' AND k.conrelid <> k.confrelid
"""
_TRIGGERS = """
SELECT c.relname, t.tgname, t.tgenabled FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
WHERE NOT t.tgisinternal
  AND c.oid = ANY (SELECT to_regclass(quote_ident(name)) FROM unnest(%s::text[]) AS name)
ORDER BY 1, 2
"""
_PLAIN = "SET LOCAL DateStyle = 'ISO'; SET LOCAL extra_float_digits = 1"


@contextmanager
def one_snapshot() -> Iterator[None]:
    """See one state of the database for the life of the block, and write nothing."""
    with transaction.atomic(durable=True):
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            cursor.execute(_PLAIN)
        yield


def migrations() -> dict[str, str]:
    """Return the newest migration of each app. Raise BackupNotMade when some are not applied."""
    executor = MigrationExecutor(connection)
    leaves = executor.loader.graph.leaf_nodes()
    if executor.migration_plan(leaves):
        raise BackupNotMade("The database is not up to date: run manage.py migrate first.")
    return dict(leaves)


def names() -> list[str]:
    """Return the tables that a backup holds."""
    found = connection.introspection.django_table_names(only_existing=True, include_views=False)
    return sorted(set(found) - LEFT_OUT)


def columns_of(table: str) -> list[Column]:
    """Return the columns that hold what was written, not what Postgres computes."""
    with connection.cursor() as cursor:
        cursor.execute(_COLUMNS, [table])
        return [Column(name=name, type=kind) for name, kind in cursor.fetchall()]


def write(writer: Writer, table: str) -> Table:
    """Write all rows of a table that this transaction sees."""
    columns = columns_of(table)
    has_vectors = any(one.type.startswith(_BINARY) for one in columns)
    form: Literal["text", "binary"] = "binary" if has_vectors else "text"
    statement = _copy("TO STDOUT", table, columns, form)
    parts: list[Part] = []
    with connection.wrap_database_errors, connection.cursor() as cursor:
        with cursor.copy(statement) as copy:
            for number, content in enumerate(_blocks(copy)):
                name = f"{DATABASE}/{table}/{number:06}"
                sha256 = writer.add(name, content)
                parts.append(Part(name=name, bytes=len(content), sha256=sha256))
        rows = int(cursor.rowcount)
    return Table(name=table, format=form, columns=columns, rows=rows, parts=parts)


def sequences(tables: list[str]) -> list[Sequence]:
    """Return where the numbers of rows stand, so that none is given a second time."""
    found = []
    with connection.cursor() as cursor:
        cursor.execute(_SEQUENCES, [tables])
        for table, column, sequence in cursor.fetchall():
            cursor.execute(f"SELECT last_value, is_called FROM {sequence}")
            value, is_called = cursor.fetchone()
            found.append(Sequence(table=table, column=column, value=value, is_called=is_called))
    return found


def check(tables: list[Table]) -> None:
    """Compare what a backup holds with the tables here. Raise RestoreRefused, naming what not."""
    here = set(connection.introspection.table_names()) - _ALIEN
    if len({table.name for table in tables}) != len(tables):
        raise BackupBroken("The backup names a table twice.")
    for table in tables:
        if table.name not in here:
            raise RestoreRefused(f"The backup has a table {table.name}, which is not there.")
        if table.columns != columns_of(table.name):
            raise RestoreRefused(f"The backup's table {table.name} has other columns than here.")


def clear(tables: list[Table]) -> None:
    """Empty the tables of the backup, and those that it leaves out."""
    here = set(connection.introspection.table_names())
    emptied = {table.name for table in tables} | (LEFT_OUT & here)
    quoted = ", ".join(connection.ops.quote_name(name) for name in sorted(emptied))
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {quoted}")


@contextmanager
def asleep(tables: list[Table]) -> Iterator[None]:
    """Let triggers sleep: what they would write is in the backup already."""
    with connection.cursor() as cursor:
        cursor.execute(_TRIGGERS, [[table.name for table in tables]])
        triggers = cursor.fetchall()
        for table in sorted({table for table, _, _ in triggers}):
            cursor.execute(f"ALTER TABLE {connection.ops.quote_name(table)} DISABLE TRIGGER USER")
    yield
    modes = {"A": "ENABLE ALWAYS", "R": "ENABLE REPLICA", "D": "DISABLE"}
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # no table is altered while checks wait
        for table, trigger, mode in triggers:
            table, trigger = map(connection.ops.quote_name, (table, trigger))
            cursor.execute(f"ALTER TABLE {table} {modes.get(mode, 'ENABLE')} TRIGGER {trigger}")


def in_order(tables: list[Table]) -> list[Table]:
    """Return the tables so that rows come after those that they refer to.

    Then references are checked table by table, and not all remembered until the end.
    """
    by_name: Mapping[str, Table] = {table.name: table for table in tables}
    sorter: TopologicalSorter[str] = TopologicalSorter({name: set() for name in by_name})
    with connection.cursor() as cursor:
        cursor.execute(_REFERENCES)
        for table, referred in cursor.fetchall():
            if table in by_name and referred in by_name:
                sorter.add(table, referred)
        try:
            ordered = list(sorter.static_order())
        except CycleError:
            cursor.execute("SET CONSTRAINTS ALL DEFERRED")
            return tables
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    return [by_name[name] for name in ordered]


def load(archive: Archive, table: Table, members: Mapping[str, Member]) -> None:
    """Write the rows of a table. Raise BackupBroken when they are not what was kept."""
    statement = _copy("FROM STDIN", table.name, table.columns, table.format)
    try:
        with connection.wrap_database_errors, connection.cursor() as cursor:
            if table.parts:
                with cursor.copy(statement) as copy:
                    for part in table.parts:
                        for piece in _checked(archive, part, members[part.name]):
                            copy.write(piece)
            rows = int(cursor.rowcount) if table.parts else 0
    except DatabaseError as error:
        if _is_of_the_data(error):
            raise archive.broken(f"has rows of {table.name} that the database refuses") from error
        raise
    if rows != table.rows:
        raise archive.broken(f"says that {table.name} has {table.rows:,} rows; it has {rows:,}")


def set_sequence(sequence: Sequence) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT setval(pg_get_serial_sequence(quote_ident(%s), %s), %s, %s)",
            [sequence.table, sequence.column, sequence.value, sequence.is_called],
        )


def _checked(archive: Archive, part: Part, member: Member) -> Iterator[bytes]:
    sha256 = hashlib.sha256()
    for piece in archive.pieces(member):
        sha256.update(piece)
        yield piece
    if sha256.hexdigest() != part.sha256:
        # It was right when the archive was looked through; the transaction has not ended yet.
        raise archive.broken("was changed while it was read")


def _is_of_the_data(error: DatabaseError) -> bool:
    """Whether the rows are wrong (SQLSTATE classes 22 and 23), and not the server."""
    state = getattr(error.__cause__, "sqlstate", None) or ""
    return state.startswith(("22", "23"))


def _copy(direction: str, table: str, columns: list[Column], form: str) -> sql.Composed:
    return sql.SQL("COPY {table} ({columns}) {direction} (FORMAT {form}{encoding})").format(
        table=sql.Identifier(table),
        columns=sql.SQL(", ").join(sql.Identifier(one.name) for one in columns),
        direction=sql.SQL(direction),
        form=sql.SQL(form),
        encoding=sql.SQL(", ENCODING 'UTF8'" if form == "text" else ""),
    )


def _blocks(copy: Any) -> Iterator[bytes]:
    """Yield what COPY gives in blocks of PART_BYTES; the last may be shorter."""
    buffer = bytearray()
    for piece in copy:
        buffer += piece
        while len(buffer) >= PART_BYTES:
            yield bytes(buffer[:PART_BYTES])
            del buffer[:PART_BYTES]
    if buffer:
        yield bytes(buffer)
