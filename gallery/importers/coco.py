"""Annotations in COCO's layout: captions, and categories as tags.

https://cocodataset.org/#format-data
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from functools import cached_property
from typing import IO, Any, ClassVar, Literal, NamedTuple

import ijson
from pydantic import Field, field_validator

from gallery import texts
from gallery.descriptions import Description
from gallery.importers import Item, ItemUnreadable, Skipped, Source, SourceUnreadable
from gallery.ingest import MAX_CAPTION, MAX_CAPTIONS
from gallery.tables import licences, nesting, values
from gallery.tables.addresses import AbsolutePlace, is_source_url, item_at
from gallery.tables.folders import ImageFolder
from gallery.tables.joins import Gathered, Seen
from gallery.tables.lines import unstorable_within
from gallery.tables.opening import on_disk, open_file

_SOURCE = "coco"
_MOST_NAMED = 100_000  # categories and licences, which are held in memory
_LONGEST_NAME, _LONGEST_URL = 200, 2000  # characters; no tag and no licence is as long
# What says nothing new about an image: its record has it, or the file itself does.
_SAID_ELSEWHERE = frozenset({"id", "license", "file_name", "coco_url", "flickr_url"})
_SAID_BY_THE_FILE = frozenset({"width", "height"})


class Coco(Source):
    """Images of COCO's annotation files, with all their captions and their categories as tags."""

    kind: ClassVar[str] = "coco"

    annotations: tuple[AbsolutePlace, ...] = Field(
        min_length=1, description="the annotation files (JSON), of one set of images or several"
    )
    images: AbsolutePlace = Field(
        default="", description="folder with the images; empty: they are downloaded"
    )
    address: Literal["coco", "flickr"] = Field(
        default="coco", description="which of an image's two addresses is asked"
    )

    @field_validator("annotations", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @property
    def title(self) -> str:
        return ", ".join(self.annotations)[:300]

    @property
    def place(self) -> str:
        # Captions and instances name the same images.
        return f"{self.kind}:{self.images or self.address}"

    def items(self) -> Iterator[Item | Skipped]:
        with ExitStack() as stack:
            paths = [stack.enter_context(on_disk(place)) for place in self.annotations]
            files = [stack.enter_context(open_file(path)) for path in paths]
            said = stack.enter_context(Gathered())
            seen = stack.enter_context(Seen())
            for file in files:
                nesting.check(file)
                said.add(_annotations(file))
            number = 0
            for file in files:
                names = _named(file, "licenses")
                for image in _entries(file, "images"):
                    number += 1
                    item = self._item(number, image, said, names)
                    # Several files of annotations list the same images.
                    if isinstance(item, Skipped) or seen.is_new(item.key):
                        yield item
            if not number:
                raise SourceUnreadable(
                    "The annotations list no images: in COCO's layout they are under “images”."
                )

    def open(self, key: str) -> IO[bytes]:
        if self._folder is None:
            raise ItemUnreadable("The image is at its address; no folder with images was given.")
        return self._folder.open(key)

    @cached_property
    def _folder(self) -> ImageFolder | None:
        return ImageFolder(self.images) if self.images else None

    def _item(
        self, number: int, image: Any, said: Gathered, licence_by_id: Mapping[str, _Named]
    ) -> Item | Skipped:
        where = f"image {number}"
        problem = unstorable_within(image) if isinstance(image, dict) else "is no object"
        if problem:
            return Skipped(key=where, reason=f"Image {number:,} {problem}.")
        name = values.text(image.get("file_name"))
        licence = licence_by_id.get(values.text(image.get("license")), _Named("", ""))
        about = _described(image, licence, said.of(values.text(image.get("id"))))
        if self._folder is not None:
            if not name:
                return Skipped(key=where, reason=f"Image {number:,} has no file_name.")
            key, version = self._folder.find(name) or (name, "")
            return Item(key=key, name=texts.file_name(name), version=version, about=about)
        others = {"coco": ("coco_url", "flickr_url"), "flickr": ("flickr_url", "coco_url")}
        urls = (values.text(image.get(column)) for column in others[self.address])
        url = next(filter(None, urls), "")
        return item_at(url, where=where, about=about)


class _Named(NamedTuple):
    """A category or a licence."""

    name: str
    url: str


def _described(
    image: Mapping[str, Any], licence: _Named, said: Iterable[tuple[str, str]]
) -> Description:
    heard = list(said)
    captions = list(dict.fromkeys(text for what, text in heard if what == "caption" and text))
    names = dict.fromkeys(text for what, text in heard if what == "category")
    tags, more_tags = values.within_tags(names)
    short = licences.named(licence.url)
    address = values.text(image.get("flickr_url")) or values.text(image.get("coco_url"))
    # When it was collected, not when it was taken: COCO's date_captured is of the crawl.
    rest = {
        name: value
        for name, value in image.items()
        if name not in _SAID_ELSEWHERE | _SAID_BY_THE_FILE
    }
    rest |= {"coco_id": image.get("id"), "licence_url": licence.url, "more_tags": more_tags}
    rest["more_captions"] = captions[MAX_CAPTIONS:]
    return Description(
        captions=tuple((_SOURCE, text) for text in captions[:MAX_CAPTIONS]),
        tags=tags,
        licence=texts.printable(short if short != licence.url else licence.name or licence.url)[
            :200
        ],
        source_url=address if is_source_url(address) else "",
        metadata=values.metadata(rest),
    )


def _annotations(file: IO[bytes]) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield (image id, (what it is, text)) of all captions and categories."""
    category_by_id = _named(file, "categories")
    for annotation in _entries(file, "annotations"):
        if not isinstance(annotation, dict):
            continue
        image_id = values.text(annotation.get("image_id"))
        caption = values.prose(values.text(annotation.get("caption")))
        if caption:
            yield image_id, ("caption", caption[:MAX_CAPTION])
        category = category_by_id.get(values.text(annotation.get("category_id")))
        if category is not None:
            yield image_id, ("category", category.name)


def _named(file: IO[bytes], table: str) -> dict[str, _Named]:
    """Return licences or categories by their id."""
    found: dict[str, _Named] = {}
    for entry in _entries(file, table):
        if len(found) == _MOST_NAMED:
            raise SourceUnreadable(f"The file has more than {_MOST_NAMED:,} {table}.")
        if isinstance(entry, dict) and not unstorable_within(entry):
            found[values.text(entry.get("id"))[:_LONGEST_NAME]] = _Named(
                values.text(entry.get("name"))[:_LONGEST_NAME],
                values.text(entry.get("url"))[:_LONGEST_URL],
            )
    return found


def _entries(file: IO[bytes], table: str) -> Iterator[Any]:
    """Yield the members of one of the file's tables, which may be gigabytes, one by one."""
    file.seek(0)
    try:
        yield from ijson.items(file, f"{table}.item", use_float=True)
    except (ijson.JSONError, UnicodeDecodeError, ValueError, OverflowError) as error:
        reason = " ".join(str(error).split())[:200]
        raise SourceUnreadable(f"The annotations are not JSON as COCO has it: {reason}.") from error
