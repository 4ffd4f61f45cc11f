"""Open Images V7 as it is published: tables of images, of labels and of their names.

https://storage.googleapis.com/openimages/web/download_v7.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import cached_property
from typing import IO, Any, ClassVar, Literal

from pydantic import Field, field_validator

from gallery import texts
from gallery.descriptions import Description
from gallery.importers import Item, ItemUnreadable, Skipped, Source, SourceUnreadable
from gallery.ingest import MAX_CAPTION
from gallery.tables import BadRow, Row, licences, values
from gallery.tables.addresses import AbsolutePlace, is_source_url, item_at
from gallery.tables.folders import ImageFolder
from gallery.tables.joins import Gathered, Seen
from gallery.tables.opening import Format, open_table, shown

_IMAGES = frozenset({"ImageID", "OriginalURL"})
_LABELS = frozenset({"ImageID", "LabelName"})
_NAMES = frozenset({"LabelName", "DisplayName"})
_HEADERLESS_NAMES = Format(names=("LabelName", "DisplayName"))  # class-descriptions of V4 to V6
_LABEL_PREFIXES = ("/m/", "/g/")
_MOST_NAMES = 1_000_000  # of labels, which are held in memory; the dataset has 21,000
_LONGEST_NAME = 200  # characters; no tag is as long
_COPIES = "https://s3.amazonaws.com/open-images-dataset"  # of Common Visual Data, named by the docs
_SAID_ELSEWHERE = frozenset(
    {"OriginalURL", "OriginalLandingURL", "License", "Author", "Title", "Thumbnail300KURL"}
)


class OpenImages(Source):
    """Images of Open Images with title, author and licence, and their labels as tags."""

    kind: ClassVar[str] = "openimages"

    tables: tuple[AbsolutePlace, ...] = Field(
        min_length=1,
        description="the CSV files in any order: of images, of labels, of classes' names",
    )
    images: AbsolutePlace = Field(
        default="", description="folder with the images; empty: they are downloaded"
    )
    address: Literal["original", "thumbnail", "copy"] = Field(
        default="original",
        description="what is downloaded: the original at Flickr, its thumbnail of 300K pixels, or "
        "the copy in the dataset's bucket",
    )
    least_confidence: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="of a label that becomes a tag; 0 are those found to be wrong",
    )

    @field_validator("tables", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @property
    def title(self) -> str:
        return ", ".join(self.tables)[:300]

    @property
    def place(self) -> str:
        return f"{self.kind}:{self.images or self.address}"

    def items(self) -> Iterator[Item | Skipped]:
        kinds = {place: _kind(place) for place in self.tables}
        image_tables = [place for place, kind in kinds.items() if kind == "images"]
        if not image_tables:
            raise SourceUnreadable(
                "None of the tables lists images: give one with the columns ImageID and "
                "OriginalURL, such as validation-images-with-rotation.csv."
            )
        with ExitStack() as stack:
            labels = stack.enter_context(Gathered())
            seen = stack.enter_context(Seen())
            for place in (place for place, kind in kinds.items() if kind == "labels"):
                labels.add(self._labels(place))
            name_by_label = _names([place for place, kind in kinds.items() if kind == "names"])
            missing = 0
            for table_number, place in enumerate(image_tables, start=1):
                prefix = f"table {table_number}, " if len(image_tables) > 1 else ""
                with open_table(place) as table:
                    for row in table.rows():
                        item = self._item(row, f"{prefix}row {row.number}", labels, name_by_label)
                        if item is None:
                            missing += 1
                        elif isinstance(item, Skipped) or seen.is_new(item.key):
                            yield item
            yield from self._left_over(missing, seen)

    def open(self, key: str) -> IO[bytes]:
        if self._folder is None:
            raise ItemUnreadable("The image is at its address; no folder with images was given.")
        return self._folder.open(key)

    @cached_property
    def _folder(self) -> ImageFolder | None:
        return ImageFolder(self.images) if self.images else None

    def _item(
        self, row: Row | BadRow, where: str, labels: Gathered, name_by_label: Mapping[str, str]
    ) -> Item | Skipped | None:
        """Return the image of a row; None where it is not in the folder that was given."""
        if isinstance(row, BadRow):
            return Skipped(key=where, reason=row.reason)
        image_id = values.text(row.cells.get("ImageID"))
        if not image_id:
            return Skipped(key=where, reason=f"{where.capitalize()} has no ImageID.")
        if self._folder is not None:
            subset = values.text(row.cells.get("Subset"))
            for path in (f"{image_id}.jpg", f"{subset}/{image_id}.jpg"):
                if found := self._folder.find(path):
                    about = self._about(row.cells, labels.of(image_id), name_by_label)
                    name = texts.file_name(path)
                    return Item(key=found[0], name=name, version=found[1], about=about)
            return None
        about = self._about(row.cells, labels.of(image_id), name_by_label)
        return item_at(self._url(image_id, row.cells), where=where, about=about)

    def _url(self, image_id: str, cells: Mapping[str, Any]) -> str:
        if self.address == "copy":
            return f"{_COPIES}/{values.text(cells.get('Subset'))}/{image_id}.jpg"
        original = values.text(cells.get("OriginalURL"))
        if self.address == "thumbnail":
            # Where there is none, the documentation says to take the original.
            return values.text(cells.get("Thumbnail300KURL")) or original
        return original

    def _about(
        self, cells: Mapping[str, Any], found: Iterator[str], name_by_label: Mapping[str, str]
    ) -> Description:
        names = dict.fromkeys(name_by_label.get(label, label) for label in found)
        tags, more_tags = values.within_tags(names)
        rest = {name: cell for name, cell in cells.items() if name not in _SAID_ELSEWHERE}
        page = values.text(cells.get("OriginalLandingURL"))
        return Description(
            caption=values.prose(values.text(cells.get("Title")))[:MAX_CAPTION],
            tags=tags,
            attribution=texts.printable(values.text(cells.get("Author")))[:500],
            licence=texts.printable(licences.named(values.text(cells.get("License"))))[:200],
            source_url=page if is_source_url(page) else "",
            metadata=values.metadata({**rest, "more_tags": more_tags}),
        )

    def _labels(self, place: str) -> Iterator[tuple[str, str]]:
        """Yield (image id, label) of those that are sure enough."""
        with open_table(place) as table:
            for row in table.rows():
                image_id, label = _both(row, place, ("ImageID", "LabelName"))
                # A table of boxes has no doubts: what has no confidence is certain.
                confidence = values.number(_cells(row, place).get("Confidence"))
                if confidence is None or confidence >= max(self.least_confidence, 1e-9):
                    yield image_id, label

    def _left_over(self, missing: int, seen: Seen) -> Iterator[Skipped]:
        """Say what the tables and the folder do not have in common."""
        if self._folder is None:
            return
        if missing:
            self._folder.check()
            reason = f"{missing:,} images of the tables are not in the folder."
            yield Skipped(key="images not in the folder", reason=reason)
        for key in self._folder.files():
            if key not in seen:
                yield Skipped(key=key, reason="None of the tables lists an image of this name.")


def _kind(place: str) -> Literal["images", "labels", "names"]:
    """Say what a table holds, by its columns."""
    try:
        with open_table(place) as table:
            columns = set(table.columns)
    except SourceUnreadable as error:
        raise SourceUnreadable(f"{shown(place)}: {error}") from error
    if columns >= _IMAGES:
        return "images"
    if columns >= _LABELS:
        return "labels"
    if columns >= _NAMES or any(name.startswith(_LABEL_PREFIXES) for name in columns):
        return "names"
    raise SourceUnreadable(
        f"{shown(place)} is no table of Open Images: it needs the columns ImageID and OriginalURL, "
        "ImageID and LabelName, or LabelName and DisplayName."
    )


def _names(places: list[str]) -> dict[str, str]:
    """Return the names of labels."""
    found: dict[str, str] = {}
    for place in places:
        for row in _rows_of_names(place):
            if len(found) == _MOST_NAMES:
                most = f"more than {_MOST_NAMES:,} names of labels"
                raise SourceUnreadable(f"{shown(place)} has {most}.")
            label, name = _both(row, place, ("LabelName", "DisplayName"))
            found[label] = name
    return found


def _cells(row: Row | BadRow, place: str) -> Mapping[str, Any]:
    """Return the cells; raise SourceUnreadable where there are none: labels would be missing."""
    if isinstance(row, BadRow):
        raise SourceUnreadable(f"{shown(place)}: {row.reason}")
    return row.cells


def _both(row: Row | BadRow, place: str, columns: tuple[str, str]) -> tuple[str, str]:
    """Return what two columns say; raise SourceUnreadable where one of them says nothing."""
    cells = _cells(row, place)
    first, second = (values.text(cells.get(column))[:_LONGEST_NAME] for column in columns)
    if not first or not second:
        missing = columns[1] if first else columns[0]
        raise SourceUnreadable(f"{shown(place)}: Row {row.number:,} has no {missing}.")
    return first, second


def _rows_of_names(place: str) -> Iterator[Row | BadRow]:
    with open_table(place) as table:
        if set(table.columns) >= _NAMES:
            yield from table.rows()
            return
    with open_table(place, _HEADERLESS_NAMES) as table:
        yield from table.rows()
