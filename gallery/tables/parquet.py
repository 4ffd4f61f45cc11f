"""Tables in Parquet, which are read by a process of their own (`parquet_child`)."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, cast

from gallery import confinement
from gallery.importers import SourceUnreadable
from gallery.tables import BadRow, Row
from gallery.tables.delimited import MAX_COLUMNS
from gallery.tables.lines import MAX_LINE, unstorable, unstorable_within

_ROOT = Path(__file__).resolve().parent.parent.parent
_MOST_BYTES = 5 * MAX_LINE  # of what the process says in a line


class Parquet:
    """A Parquet file. Columns of bytes, such as embedded images, are left out."""

    def __init__(self, file: IO[bytes]) -> None:
        """Start to read an open file on disk. Raise SourceUnreadable."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "gallery.tables.parquet_child"],
            cwd=_ROOT,
            # Not the allocator of its own that pyarrow brings: that reserves what it will not need.
            env=confinement.environment() | {"ARROW_DEFAULT_MEMORY_POOL": "system"},
            stdin=file,
            stdout=subprocess.PIPE,
            process_group=0,  # Ctrl-C in a terminal is for the one that asks
        )
        with ExitStack() as undo:
            undo.callback(self.close)
            self._heard = Heard(self._lines())
            undo.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._process.kill()
        with self._process:
            pass  # which waits for it, and closes what it has written to

    @property
    def columns(self) -> tuple[str, ...]:
        return self._heard.columns

    def rows(self) -> Iterator[Row | BadRow]:
        return self._heard.rows()

    def _lines(self) -> Iterator[bytes]:
        said = cast("IO[bytes]", self._process.stdout)
        while line := said.readline(_MOST_BYTES):
            yield line
        ended = self._process.wait()
        if ended == -signal.SIGALRM:
            raise _unreadable("it takes far too long")
        raise _unreadable("it takes more memory than a table may, or makes its reader crash")


class Heard:
    """What the lines of the process say. Nothing of them is believed."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._lines = iter(lines)
        columns = self._next()
        if not isinstance(columns, list) or len(columns) > MAX_COLUMNS:
            raise _unreadable(f"it has more than {MAX_COLUMNS:,} columns")
        self.columns = tuple(map(str, columns))
        if len(set(self.columns)) < len(self.columns) or unstorable("".join(self.columns)):
            raise SourceUnreadable("Columns of the Parquet file have no or the same names.")

    def rows(self) -> Iterator[Row | BadRow]:
        number = 0
        while (cells := self._next()) is not True:
            number += 1
            problem = cells if isinstance(cells, str) else unstorable_within(cells)
            if problem:
                yield BadRow(number=number, reason=f"Row {number:,} {problem}.")
            else:
                yield Row(number=number, cells=dict(zip(self.columns, cells, strict=True)))

    def _next(self) -> Any:
        try:
            value = json.loads(next(self._lines))
        except (StopIteration, ValueError, RecursionError) as error:
            raise _unreadable("its reader broke off") from error
        if isinstance(value, dict):
            raise _unreadable(str(value.get("unreadable")))
        return value


def _unreadable(why: str) -> SourceUnreadable:
    return SourceUnreadable(f"The Parquet file cannot be read: {why}.")
