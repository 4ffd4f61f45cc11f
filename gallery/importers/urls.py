"""A list of addresses, one a line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, ClassVar

from pydantic import Field

from gallery.descriptions import Description
from gallery.importers import Item, ItemUnreadable, Skipped, Source
from gallery.tables.addresses import AbsolutePlace, item_at
from gallery.tables.joins import Seen
from gallery.tables.lines import Encoding, Lines, RowTooLong, unstorable
from gallery.tables.opening import on_disk, open_file


class Urls(Source):
    """Addresses, one a line; empty lines and lines that begin with # are left out."""

    kind: ClassVar[str] = "urls"

    file: AbsolutePlace = Field(description="the list, as a path or an address")
    encoding: Encoding = Field(default="auto", description="of the list, where it is not UTF-8")

    @property
    def title(self) -> str:
        return self.file

    @property
    def place(self) -> str:
        return self.kind  # an address is the same from whichever list it comes

    def items(self) -> Iterator[Item | Skipped]:
        with Seen() as seen:
            for number, line, problem in self._lines():
                where = f"line {number}"
                if problem:
                    yield Skipped(key=where, reason=f"Line {number:,} {problem}.")
                    continue
                url = line.strip()
                if not url or url.startswith("#"):
                    continue
                item = item_at(url, where=where, about=Description())
                if isinstance(item, Item) and not seen.is_new(item.key):
                    reason = f"Line {number:,} has the same address as an earlier one."
                    item = Skipped(key=where, reason=reason)
                yield item

    def open(self, key: str) -> IO[bytes]:
        raise ItemUnreadable("The image is at its address; a list has none itself.")

    def _lines(self) -> Iterator[tuple[int, str, str]]:
        """Yield the number of each line, what it says, and why it cannot be read."""
        with on_disk(self.file) as path, open_file(path) as file:
            lines = Lines(file, self.encoding)
            while True:
                lines.begin_row()
                try:
                    found = next(lines, None)
                except RowTooLong:
                    yield lines.number, "", "is too long for an address"
                else:
                    if found is None:
                        return
                    yield lines.number, found, unstorable(found)
