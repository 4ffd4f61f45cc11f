"""Vectors and ids between Postgres and numpy in bulk, in Postgres' binary formats.

Many times as fast as through the ORM (bench/database.py). The one place that knows how a halfvec
lies on the wire.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.db.models import QuerySet
from psycopg import Cursor, sql
from psycopg.adapt import Dumper
from psycopg.pq import Format

from embeddings.errors import VectorInvalid
from embeddings.models import AbstractEmbedding, Space
from embeddings.vectors import Ids, Vector, Vectors

ROWS_AT_ONCE = 16_384
_SIGNATURE = b"PGCOPY\n\xff\r\n\0"
_FLOAT4_OID, _FLOAT4_ARRAY_OID = 700, 1021  # the same in every Postgres


def stream_vectors(
    model: type[AbstractEmbedding], space: Space, *, only: Ids | None = None
) -> Iterator[tuple[Ids, Vectors]]:
    """Yield all vectors of a space (or those of `only`), by ascending id, some thousand at once."""
    subject = sql.Identifier(model.subject_field().column)
    condition = sql.SQL("space_id = {}").format(sql.Literal(space.pk))
    if only is not None:
        condition += sql.SQL(" AND {} = ANY({}::bigint[])").format(
            subject, sql.Literal([int(id_) for id_ in only])
        )
    statement = sql.SQL(
        "COPY (SELECT {subject}::int8, vector FROM {table} WHERE {condition} ORDER BY {subject})"
        " TO STDOUT (FORMAT BINARY)"
    ).format(subject=subject, table=sql.Identifier(model._meta.db_table), condition=condition)
    row = _row_format(space.dimensions)
    with (
        connection.wrap_database_errors,  # Django does not know of copy()
        connection.cursor() as cursor,
        cursor.copy(statement) as copy,
    ):
        for block in _blocks(copy, row.itemsize * ROWS_AT_ONCE):
            rows = np.frombuffer(block, dtype=row, count=len(block) // row.itemsize)
            if len(block) % row.itemsize or (rows["width"] != space.dimensions).any():
                raise VectorInvalid(
                    f"{model._meta.db_table} holds a vector in {space} that has not "
                    f"{space.dimensions} dimensions."
                )
            yield rows["id"].astype(np.int64), rows["vector"].astype(np.float32)


def read_vectors(model: type[AbstractEmbedding], space: Space, *, only: Ids) -> tuple[Ids, Vectors]:
    """Return (ids, vectors) of those of `only` that are there, by ascending id."""
    found = list(stream_vectors(model, space, only=only)) if len(only) else []
    if not found:
        return np.empty(0, np.int64), np.empty((0, space.dimensions), np.float32)
    return np.concatenate([ids for ids, _ in found]), np.concatenate([vec for _, vec in found])


def read_ids(queryset: QuerySet[Any], column: str = "pk") -> Ids:
    """Return one integer column of a queryset, ascending, as one binary value.

    Faster than fetching rows (bench/database.py): Postgres packs them, numpy reads what comes.
    """
    statement, parameters = ids_statement(queryset, column)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT string_agg(int8send(id::int8), '') FROM ({statement}) AS found (id)",
            parameters,
        )
        packed = cursor.fetchone()[0]
    return np.sort(np.frombuffer(packed or b"", dtype=">i8").astype(np.int64))


def ids_statement(queryset: QuerySet[Any], column: str = "pk") -> tuple[str, tuple[Any, ...]]:
    """Return the SQL and parameters that select one integer column of a queryset."""
    try:
        return queryset.order_by().values_list(column).query.sql_with_params()
    except EmptyResultSet:  # Django knows that nothing can match, and writes no SQL for that
        return "SELECT 0 WHERE false", ()


def halfvec_text(vector: Vector) -> str:
    """Return a vector in pgvector's text form, as a parameter for `%s::halfvec`."""
    # Five digits tell any two float16 apart, and are written three times as fast as all of them.
    rounded = vector.astype(np.float16).astype(float).tolist()
    return "[" + ",".join([f"{number:.5g}" for number in rounded]) + "]"


class FloatArray(bytes):
    """Vectors as one parameter: a `real[]` of all their numbers, in Postgres' binary form.

    For a cursor of `array_cursor()`; text would take ten times as long to write and to read.
    """


def float_array(vectors: Vectors) -> FloatArray:
    """Return all numbers of vectors (n, dimensions), row after row."""
    numbers = np.zeros(vectors.size, np.dtype([("bytes", ">i4"), ("number", ">f4")]))
    numbers["bytes"] = 4
    numbers["number"] = vectors.ravel()
    # One dimension, no NULL, of float4; so many of them, counted from 1.
    header = struct.pack(">iiiii", 1, 0, _FLOAT4_OID, vectors.size, 1)
    return FloatArray(header + numbers.tobytes())


@contextmanager
def array_cursor() -> Iterator[Cursor[tuple[Any, ...]]]:
    """Give a cursor on Django's connection that takes a FloatArray as it is.

    Django's own writes parameters into the statement, as text.
    """
    connection.ensure_connection()
    with connection.wrap_database_errors, Cursor(connection.connection) as cursor:
        cursor.adapters.register_dumper(FloatArray, _FloatArrayDumper)
        yield cursor


class _FloatArrayDumper(Dumper):
    format = Format.BINARY
    oid = _FLOAT4_ARRAY_OID

    def dump(self, obj: FloatArray) -> bytes:
        return obj


def _row_format(dimensions: int) -> np.dtype[Any]:
    return np.dtype(
        [
            ("fields", ">i2"),
            ("id_bytes", ">i4"),
            ("id", ">i8"),
            ("vector_bytes", ">i4"),
            ("width", ">i2"),
            ("unused", ">i2"),
            ("vector", ">f2", (dimensions,)),
        ]
    )


def _blocks(copy: Any, size: int) -> Iterator[bytes]:
    """Yield the rows of a binary COPY in blocks of `size` bytes, without header and trailer."""
    buffer = bytearray()
    is_header = True
    for part in copy:
        buffer += part
        if is_header and len(buffer) >= 19:
            if buffer[:11] != _SIGNATURE:
                raise ValueError("not a binary COPY")
            (extension,) = struct.unpack_from(">i", buffer, 15)
            del buffer[: 19 + extension]
            is_header = False
        while len(buffer) >= size + 2:
            yield bytes(buffer[:size])
            del buffer[:size]
    yield bytes(buffer[:-2])  # the trailer is a field count of -1
