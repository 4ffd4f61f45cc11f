"""Tables in Parquet. The one module that imports pyarrow, and so imported only when asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow
from pyarrow import parquet

from gallery.importers import SourceUnreadable
from gallery.tables import BadRow, Row
from gallery.tables.lines import unstorable, unstorable_within

_BATCH_ROWS = 1000
_READ_BYTES = 2**20
# What pyarrow raises on a broken file. Its own errors derive from several of these or from none.
_BROKEN = (pyarrow.ArrowException, OSError, ValueError, OverflowError, KeyError, TypeError)


class Parquet:
    """A Parquet file. Columns of bytes, such as embedded images, are left out."""

    def __init__(self, path: Path) -> None:
        try:
            # Column chunks are read in pieces, in this thread: a row group may hold gigabytes, and
            # a process that has started threads of native code cannot be forked.
            self._file = parquet.ParquetFile(
                path, memory_map=False, buffer_size=_READ_BYTES, pre_buffer=False
            )
            schema = self._file.schema_arrow
        except _BROKEN as error:
            raise _unreadable(error) from error
        self.columns = tuple(field.name for field in schema if not _holds_bytes(field.type))
        if len(set(self.columns)) < len(self.columns) or unstorable("".join(self.columns)):
            raise SourceUnreadable("Columns of the Parquet file have no or the same names.")

    def rows(self) -> Iterator[Row | BadRow]:
        number = 0
        for batch in self._batches():
            for cells in _cells(batch):
                number += 1
                problem = cells if isinstance(cells, str) else unstorable_within(cells)
                if isinstance(cells, str) or problem:
                    yield BadRow(number=number, reason=f"Row {number:,} {problem}.")
                else:
                    row = dict(zip(batch.schema.names, cells, strict=True))
                    yield Row(number=number, cells=row)

    def _batches(self) -> Iterator[pyarrow.RecordBatch]:
        try:
            yield from self._file.iter_batches(
                batch_size=_BATCH_ROWS, columns=list(self.columns), use_threads=False
            )
        except _BROKEN as error:
            raise _unreadable(error) from error


def _cells(batch: pyarrow.RecordBatch) -> Iterator[tuple[Any, ...] | str]:
    """Return the values of each row, or why it has none."""
    try:
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)
    except _BROKEN:
        # A text that is not UTF-8, a time that no calendar has: it spoils its own row alone.
        for position in range(batch.num_rows):
            yield _cells_of_row(batch, position)


def _cells_of_row(batch: pyarrow.RecordBatch, position: int) -> tuple[Any, ...] | str:
    try:
        return tuple(column[position].as_py() for column in batch.columns)
    except _BROKEN as error:
        return f"cannot be read: {' '.join(str(error).split())[:200]}"


def _holds_bytes(kind: pyarrow.DataType) -> bool:
    types = pyarrow.types
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        return True
    return any(_holds_bytes(kind.field(index).type) for index in range(kind.num_fields))


def _unreadable(error: Exception) -> SourceUnreadable:
    return SourceUnreadable(
        f"The Parquet file cannot be read: {' '.join(str(error).split())[:300]}."
    )
