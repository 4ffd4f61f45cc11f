"""A process that reads a Parquet file: `python -m gallery.tables.parquet_child`.

A file of some kilobytes may stand for gigabytes, and its reader notices when it has them. So it
reads here, with a bound on memory, and an alarm for what comes to no end. The file is its standard
input. On its standard output it says the columns, then the rows one by one, as lines of JSON: a
list of cells, or a text that says why a row has none. The last line is `true`, or an object that
says why the file cannot be read.

The one module that imports pyarrow.
"""

from __future__ import annotations

import json
import math
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, time
from typing import IO, Any

import pyarrow
from pyarrow import parquet

from gallery.confinement import confine

MEMORY_BYTES = 3 * 2**29  # of address space, a fifth of which the libraries take
SECONDS = 60  # for one batch of rows
MAX_LINE = 2**20  # characters of a row

# Few enough that rows of the greatest length have room.
_BATCH_ROWS = 200
_READ_BYTES = 2**20
# What pyarrow raises on a broken file. Its own errors derive from several of these or from none.
_BROKEN = (pyarrow.ArrowException, OSError, ValueError, OverflowError, KeyError, TypeError)
_TOO_MUCH = "it takes more memory than a table may"


def main() -> None:
    confine(MEMORY_BYTES)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # nobody listens any more
    with os.fdopen(0, "rb", buffering=0) as file, os.fdopen(1, "wb") as to:
        for line in said(file):
            to.write(line)


def said(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the lines, whatever the file is; but not where memory or time run out for good."""
    try:
        yield from _lines(file)
    except MemoryError:  # pyarrow's is one, too
        yield _line({"unreadable": _TOO_MUCH})
    except _BROKEN as error:
        yield _line({"unreadable": " ".join(str(error).split())[:300]})


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    with _in_time():
        # Column chunks are read in pieces, in this thread: a row group may hold gigabytes.
        table = parquet.ParquetFile(
            file, memory_map=False, buffer_size=_READ_BYTES, pre_buffer=False
        )
        columns = [field.name for field in table.schema_arrow if not _holds_bytes(field.type)]
    yield _line(columns)
    batches = table.iter_batches(batch_size=_BATCH_ROWS, columns=columns, use_threads=False)
    while True:
        # Not while others take what was read, which may last for hours.
        with _in_time():
            batch = next(batches, None)
            rows = [] if batch is None else [_row(cells) for cells in _cells(batch)]
        if batch is None:
            break
        yield from rows
    yield _line(True)  # noqa: FBT003 - the last word


@contextmanager
def _in_time() -> Iterator[None]:
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)


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


def _row(cells: tuple[Any, ...] | str) -> bytes:
    try:
        line = _line(cells if isinstance(cells, str) else [_plain(cell) for cell in cells])
    except (RecursionError, ValueError):
        return _line("is nested too deeply, or no text")
    return line if len(line) <= 4 * MAX_LINE else _line(f"is longer than {MAX_LINE:,} characters")


def _plain(value: Any) -> Any:
    """Return the value as JSON holds it: times as ISO 8601, numbers of any length as texts."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, dict):
        return {str(name): _plain(within) for name, within in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(within) for within in value]
    return str(value)


def _line(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _holds_bytes(kind: pyarrow.DataType) -> bool:
    types = pyarrow.types
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        return True
    return any(_holds_bytes(kind.field(index).type) for index in range(kind.num_fields))


if __name__ == "__main__":
    main()
