"""A table of images: CSV, TSV, Parquet or JSON lines, with a column of addresses or paths."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import IO, ClassVar, Literal

from pydantic import Field

from gallery import texts
from gallery.descriptions import Description
from gallery.importers import Item, Skipped, Source, SourceUnreadable
from gallery.tables import BadRow, Row, unsplash, values
from gallery.tables.addresses import AbsolutePlace, is_url, item_at
from gallery.tables.columns import Columns, describe, recognise
from gallery.tables.folders import ImageFolder
from gallery.tables.joins import Gathered, Seen
from gallery.tables.lines import Encoding
from gallery.tables.opening import Format, open_table, shown

_CHOICES = (
    "url", "path", "caption", "tags", "album", "category", "licence", "attribution", "taken_at",
    "latitude", "longitude", "camera", "source_url",
)  # fmt: skip


class Table(Source):
    """Rows of a table; what its columns say becomes caption, tags, metadata and so on."""

    kind: ClassVar[str] = "table"

    file: AbsolutePlace = Field(description="the table, as a path or an address")
    images: AbsolutePlace = Field(
        default="", description="folder that paths are relative to; empty: the table's own"
    )
    url_column: str = Field(default="", description="column of the images' addresses")
    path_column: str = Field(default="", description="column of the images' paths")
    caption_column: str = Field(default="", description="column of captions")
    tags_column: str = Field(default="", description="column of tags")
    tags_separator: str = Field(default="", description="between two tags; empty: | ; or comma")
    album_column: str = Field(default="", description="column of albums")
    category_column: str = Field(default="", description="column of categories")
    licence_column: str = Field(default="", description="column of licences")
    attribution_column: str = Field(default="", description="column of authors")
    taken_at_column: str = Field(default="", description="column of times of capture")
    latitude_column: str = Field(default="", description="column of latitudes, in degrees")
    longitude_column: str = Field(default="", description="column of longitudes, in degrees")
    camera_column: str = Field(default="", description="column of cameras")
    source_url_column: str = Field(default="", description="column of the pages they come from")
    columns: str = Field(
        default="", description="names of the columns in order, for a table without a header"
    )
    encoding: Encoding = Field(default="auto", description="of the text, where it is not UTF-8")
    delimiter: Literal["", ",", ";", "|", "\t"] = Field(
        default="", description="between two cells, where it is not recognised"
    )
    keywords: AbsolutePlace = Field(
        default="", description="Unsplash's table of keywords, for tags"
    )
    width: int = Field(
        default=0, ge=0, le=100_000, description="pixels that Unsplash is asked for; 0: all"
    )

    @property
    def title(self) -> str:
        return self.file

    @property
    def place(self) -> str:
        # Paths mean other files below another folder.
        return f"{self.kind}:{self.file}" + (f" in {self.images}" if self.images else "")

    def items(self) -> Iterator[Item | Skipped]:
        with ExitStack() as stack:
            table = stack.enter_context(open_table(self.file, self._format))
            seen = stack.enter_context(Seen())
            chosen = {
                name: column for name in _CHOICES if (column := getattr(self, f"{name}_column"))
            }
            if unsplash.is_photos(table.columns) and not chosen:
                found = stack.enter_context(Gathered())
                self._gather_keywords(found)
                items = (self._from_unsplash(row, found) for row in table.rows())
            else:
                columns = recognise(table.columns, chosen)
                items = (self._from_row(row, columns) for row in table.rows())
            for number, item in enumerate(items, start=1):
                if isinstance(item, Item) and not seen.is_new(item.key):
                    reason = f"Row {number:,} names the same image as an earlier one."
                    item = Skipped(key=f"row {number}", reason=reason)
                yield item

    def open(self, key: str) -> IO[bytes]:
        return self._folder.open(key)

    @property
    def _format(self) -> Format:
        names = [name.strip() for name in self.columns.split(",")] if self.columns.strip() else []
        return Format(encoding=self.encoding, delimiter=self.delimiter, names=names)

    @cached_property
    def _folder(self) -> ImageFolder:
        if not self.images and is_url(self.file):
            raise SourceUnreadable("The table has paths: say by images which folder they are in.")
        return ImageFolder(self.images or Path(self.file).parent)

    def _from_row(self, row: Row | BadRow, columns: Columns) -> Item | Skipped:
        if isinstance(row, BadRow):
            return Skipped(key=f"row {row.number}", reason=row.reason)
        path = values.text(row.cells.get(columns.path)) if columns.path else ""
        url = values.text(row.cells.get(columns.url)) if columns.url else ""
        if is_url(path):
            path, url = "", url or path
        about = describe(row.cells, columns, separator=self.tags_separator)
        # Where both are there, the file that is here already.
        if path and (self.images or not url):
            return self._in_folder(path, about)
        return item_at(url, where=f"row {row.number}", about=about)

    def _in_folder(self, path: str, about: Description) -> Item:
        found = self._folder.find(path)
        # One that is missing is listed all the same: it fails with its reason, and a retry finds
        # it when it has been put there.
        key, version = found or (path, "")
        return Item(key=key, name=texts.file_name(path), version=version, about=about)

    def _from_unsplash(self, row: Row | BadRow, found: Gathered) -> Item | Skipped:
        if isinstance(row, BadRow):
            return Skipped(key=f"row {row.number}", reason=row.reason)
        photo_id = values.text(row.cells.get("photo_id"))
        about = unsplash.describe(row.cells, found.of(photo_id))
        if self.images:
            return self._in_folder(f"{photo_id}.jpg", about)
        url = unsplash.image_url(row.cells, self.width)
        item = item_at(url, where=f"row {row.number}", about=about)
        if isinstance(item, Skipped) or not photo_id:
            return item
        return replace(item, key=photo_id, name=texts.file_name(f"{photo_id}.jpg"))

    def _gather_keywords(self, found: Gathered) -> None:
        if self.keywords:
            with open_table(self.keywords) as table:
                if not unsplash.is_keywords(table.columns):
                    table_name = shown(self.keywords)
                    raise SourceUnreadable(f"{table_name} has no columns photo_id and keyword.")
                found.add(unsplash.keywords(table.rows()))
