"""Tables of images as others write them: rows out of files that nothing is believed of.

The formats (`delimited`, `json_lines`, `parquet`) give rows, each a mapping of column to value;
`columns` and `unsplash` say what a row tells about an image. No row is lost: what cannot be read
comes out as a `BadRow` with its reason. Memory is bounded whatever the table's length.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One row; `number` counts from 1, without the header and empty lines."""

    number: int
    cells: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class BadRow:
    """A row that cannot be read, and why: a sentence for the ledger."""

    number: int
    reason: str


class Table(Protocol):
    """A table that is open. Its rows can be read once."""

    @property
    def columns(self) -> tuple[str, ...]: ...

    def rows(self) -> Iterator[Row | BadRow]: ...
