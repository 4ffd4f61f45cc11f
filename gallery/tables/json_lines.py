"""Tables of one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain
from typing import IO, Any

from gallery.importers import SourceUnreadable
from gallery.tables import BadRow, Row
from gallery.tables.lines import MAX_LINE, Encoding, Lines, RowTooLong, unstorable_within

# Rows that say which columns there are, no more than may be held in memory; later ones may bring
# more.
_LOOKED_AT = 100
_LOOKED_AT_CHARACTERS = 2**21


class JsonLines:
    """A table of JSON lines. Its columns are what its first rows have."""

    def __init__(self, file: IO[bytes], *, encoding: Encoding = "auto") -> None:
        self._lines = Lines(file, encoding)
        self._rest = self._read()
        self._first: list[Row | BadRow] = []
        while len(self._first) < _LOOKED_AT and self._lines.read < _LOOKED_AT_CHARACTERS:
            row = next(self._rest, None)
            if row is None:
                break
            self._first.append(row)
        objects = [row for row in self._first if isinstance(row, Row)]
        if not objects:
            raise SourceUnreadable("The table has no line with a JSON object.")
        self.columns = tuple(dict.fromkeys(name for row in objects for name in row.cells))

    def rows(self) -> Iterator[Row | BadRow]:
        first, self._first = self._first, []
        return chain(first, self._rest)

    def _read(self) -> Iterator[Row | BadRow]:
        number = 0
        while True:
            self._lines.begin_row()
            try:
                line = next(self._lines, None)
            except RowTooLong:
                outcome: dict[str, Any] | str = f"is longer than {MAX_LINE:,} characters"
            else:
                if line is None:
                    return
                if not line.strip():
                    continue
                outcome = _object(line)
            number += 1
            if isinstance(outcome, dict):
                yield Row(number=number, cells=outcome)
            else:
                reason = f"Row {number:,} (line {self._lines.number:,}) {outcome}."
                yield BadRow(number=number, reason=reason)


def _object(line: str) -> dict[str, Any] | str:
    """Return the object of a line, or why it has none."""
    try:
        # NaN and its like are no JSON; those who write them mean that nothing is known.
        value = json.loads(line, parse_constant=lambda _: None)
        if not isinstance(value, dict):
            return "is no JSON object"
        # Of the value: escapes may spell what the line itself does not hold.
        return unstorable_within(value) or value
    except ValueError as error:
        return f"is not JSON: {error}"
    except RecursionError:
        return "is nested too deeply"
