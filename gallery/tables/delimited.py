"""Tables of delimited text: CSV, TSV and their relatives."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import IO

from gallery.importers import SourceUnreadable
from gallery.tables import BadRow, Row
from gallery.tables.columns import is_known
from gallery.tables.lines import MAX_LINE, Encoding, Lines, RowTooLong, unstorable

DELIMITERS = "\t,;|"  # the first that fits is taken
MAX_COLUMNS = 2000
MAX_COLUMN_NAME = 200

# One for the whole process, so it is said once and not left to whoever came before: a quote that
# is never closed swallows this much and no more.
csv.field_size_limit(131_072)


class Delimited:
    """A table of delimited text. Without `names`, its first line names the columns.

    Without a `delimiter` it is the one that cuts the first line best, or else the `usual` one.
    """

    def __init__(
        self,
        file: IO[bytes],
        *,
        encoding: Encoding = "auto",
        delimiter: str = "",
        usual: str = ",",
        names: Sequence[str] = (),
    ) -> None:
        self._lines = Lines(file, encoding)
        first = self._first_line()
        self._delimiter = delimiter or _delimiter_of(first, usual, names)
        header = list(names) or _cells(first, self._delimiter)
        if header is None:
            raise SourceUnreadable(f"The header (line {self._lines.number}) has an open quote.")
        self.columns = _checked(header)
        self._pending = [first] if names else []

    def rows(self) -> Iterator[Row | BadRow]:
        reader = csv.reader(
            itertools.chain(self._pending, self._lines),
            delimiter=self._delimiter,
            strict=True,
        )
        line_before = self._lines.number - len(self._pending)
        number = 0
        while True:
            self._lines.begin_row()
            outcome = self._next(reader)
            if outcome is None:
                return
            where = f"line {line_before + 1:,}"
            if self._lines.number > line_before + 1:
                where = f"lines {line_before + 1:,} to {self._lines.number:,}"
            line_before = self._lines.number
            if outcome == []:
                continue  # an empty line
            number += 1
            yield self._row(number, where, outcome)

    def _next(self, reader: Iterator[list[str]]) -> list[str] | str | None:
        """Return the cells of the next row, why it has none, or None at the end."""
        try:
            return next(reader, None)
        except csv.Error as error:
            # The reader begins anew with the next line.
            return f"cannot be read as a row: {error}"
        except RowTooLong:
            return f"is longer than {MAX_LINE:,} characters"

    def _row(self, number: int, where: str, outcome: list[str] | str) -> Row | BadRow:
        if isinstance(outcome, list):
            problem = self._problem(outcome)
            if not problem:
                return Row(number=number, cells=dict(zip(self.columns, outcome, strict=True)))
        else:
            problem = outcome
        return BadRow(number=number, reason=f"Row {number:,} ({where}) {problem}.")

    def _problem(self, cells: list[str]) -> str:
        if len(cells) != len(self.columns):
            return f"has {len(cells):,} cells where the header has {len(self.columns):,}"
        return unstorable("".join(cells))

    def _first_line(self) -> str:
        try:
            for line in self._lines:
                if line.strip():
                    return line
        except RowTooLong:
            raise SourceUnreadable(
                f"The first line is longer than {MAX_LINE:,} characters: this is no table."
            ) from None
        raise SourceUnreadable("The table is empty.")


def _cells(line: str, delimiter: str) -> list[str] | None:
    try:
        return next(csv.reader([line], delimiter=delimiter, strict=True), None)
    except csv.Error:
        return None


def _delimiter_of(line: str, usual: str, names: Sequence[str]) -> str:
    """Return the delimiter that cuts the first line best: into names that are known, into most."""

    def fitness(delimiter: str) -> tuple[int, int]:
        cells = _cells(line, delimiter) or []
        if names:
            return int(len(cells) == len(names)), 0
        return sum(map(is_known, cells)), len(cells)

    return max(usual + DELIMITERS, key=fitness)


def _checked(header: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the columns, each once; raise SourceUnreadable where they are none."""
    columns: dict[str, None] = {}
    for position, cell in enumerate(header, start=1):
        name = cell.strip() or f"column {position}"
        if position > MAX_COLUMNS or len(name) > MAX_COLUMN_NAME or unstorable(name):
            raise SourceUnreadable("The first line does not name columns: this is no table.")
        if name.lower().startswith(("http://", "https://")):
            raise SourceUnreadable(
                "The first line holds an address, so it is no header; name the columns in order "
                "(columns=caption,url)."
            )
        columns[name if name not in columns else f"{name} ({position})"] = None
    return tuple(columns)
