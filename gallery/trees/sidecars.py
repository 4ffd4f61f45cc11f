"""What files beside an image say about it: JSON of ours or of Google Takeout, captions as text.

A sidecar that cannot be read, or says what the gallery would refuse, is left out as a whole, with a
sentence: the image comes without it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from gallery import moments, texts
from gallery.descriptions import Description
from gallery.errors import ImageRefused
from gallery.importers import ItemUnreadable
from gallery.ingest import MAX_CAPTION, MAX_CAPTIONS
from gallery.trees import names, takeout

MAX_BYTES = 400_000
_ALIASES = {"url": "source_url", "license": "licence", "author": "attribution", "lat": "latitude"}
_ALIASES |= {"lon": "longitude", "lng": "longitude", "keywords": "tags", "date": "taken_at"}

Read = Callable[[str], bytes]  # the beginning of a file of the folder, by its name


class SidecarBroken(Exception):
    """A sidecar says nothing that can be used: a sentence that says why."""


@dataclass(frozen=True, kw_only=True)
class Said:
    """What the sidecars of an image say."""

    about: Description = field(default_factory=Description)
    title: str = ""  # the name that the image had before it was exported
    is_takeout: bool = False
    is_trashed: bool = False
    problems: tuple[tuple[str, str], ...] = ()  # names of sidecars, and why they are left out


class Sidecars:
    """The sidecars of one folder."""

    def __init__(self, files: Iterable[str], read: Read) -> None:
        self._read = read
        self._exact = {name for name in files if names.suffix_of(name) in (".json", ".txt")}
        self._by_lower = {name.lower(): name for name in sorted(self._exact)}

    def of(self, image: str) -> Said:
        """Return what is said of an image of that name: JSON counts before text."""
        if not self._exact:
            return Said()
        found = [
            name
            for candidates in (_json_names(image), _text_names(image))
            if (name := self._first(candidates))
        ]
        said = Said()
        for name in reversed(found):  # what comes later goes over what came before
            try:
                this = parse(name, self._content(name))
            except SidecarBroken as error:
                said = replace(said, problems=(*said.problems, (name, str(error))))
            else:
                said = replace(this, about=this.about.over(said.about), problems=said.problems)
        return said

    def album(self) -> str:
        """Return the title of Google's album that the folder is; "" for none."""
        for name in sorted(self._exact):
            if takeout.is_album_file(name):
                try:
                    title = takeout.album_title(_json(self._content(name)))
                except SidecarBroken:
                    return ""
                return texts.printable(title)[:200]
        return ""

    def _first(self, candidates: Iterable[str]) -> str:
        for name in candidates:
            if name in self._exact:
                return name
            if other := self._by_lower.get(name.lower()):
                return other
        return ""

    def _content(self, name: str) -> bytes:
        try:
            content = self._read(name)
        except (OSError, ItemUnreadable) as error:
            raise SidecarBroken(f"Left out, it cannot be read: {_brief(error)}.") from error
        if len(content) > MAX_BYTES:
            raise SidecarBroken(f"Left out, it has more than {MAX_BYTES // 1000} kB.")
        return content


def names_beside(image: str) -> Iterator[str]:
    """Yield what the sidecars of an image may be called, in any case of letters."""
    yield from _json_names(image)
    yield from _text_names(image)


def parse(name: str, content: bytes) -> Said:
    """Return what a sidecar says. Raise SidecarBroken."""
    try:
        if names.suffix_of(name) == ".txt":
            return Said(about=_checked(Description(caption=_text(content))))
        said = _json(content)
        if takeout.is_of_image(said):
            return Said(
                about=_checked(_soundly_dated(takeout.describe(said))),
                title=takeout.title(said),
                is_takeout=True,
                is_trashed=takeout.is_trashed(said),
            )
        return Said(about=_checked(_described(said)))
    except (ImageRefused, ValueError) as error:
        raise SidecarBroken(f"Left out: {_brief(error)}.") from error


class _Own(BaseModel):
    """A JSON sidecar: the fields of a Description; all else is metadata."""

    model_config = ConfigDict(extra="allow")

    caption: str = ""
    captions: list[str | tuple[str, str]] = []
    tags: list[str] = []
    album: str = ""
    category: str = ""
    metadata: dict[str, Any] = {}
    source_url: str = ""
    licence: str = ""
    attribution: str = ""
    visibility: Literal["", "public", "private"] = ""
    taken_at: datetime | None = None
    camera: str = ""
    latitude: float | None = Field(default=None, ge=-90, le=90, allow_inf_nan=False)
    longitude: float | None = Field(default=None, ge=-180, le=180, allow_inf_nan=False)

    @field_validator("tags", mode="before")
    @classmethod
    def split(cls, value: object) -> object:
        return value.split(",") if isinstance(value, str) else value


def _json_names(image: str) -> Iterator[str]:
    yield from takeout.sidecar_names(image)
    yield f"{_stem(image)}.json"


def _text_names(image: str) -> Iterator[str]:
    yield f"{image}.txt"
    yield f"{_stem(image)}.txt"


def _stem(image: str) -> str:
    return image.rpartition(".")[0]


def _text(content: bytes) -> str:
    return content.decode("utf-8-sig")


def _json(content: bytes) -> Mapping[str, Any]:
    try:
        said = json.loads(_text(content))
    except (ValueError, RecursionError) as error:
        raise SidecarBroken("Left out: it is no JSON that can be read.") from error
    if not isinstance(said, dict):
        raise SidecarBroken("Left out: it is no JSON object.")
    return said


def _described(said: Mapping[str, Any]) -> Description:
    given = {name: value for name, value in said.items() if value is not None}
    for alias, name in _ALIASES.items():
        if alias in given and name not in given:
            given[name] = given.pop(alias)
    try:
        own = _Own.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"][:2]))
        raise ValueError(f"{texts.printable(where)[:100]}: {first['msg']}") from error
    captions = [("sidecar", one) if isinstance(one, str) else one for one in own.captions]
    fields = own.model_dump(exclude={"captions", "tags", "metadata"} | set(own.model_extra or ()))
    return Description(
        **fields,
        tags=tuple(own.tags),
        captions=tuple(captions),
        metadata={**(own.model_extra or {}), **own.metadata},
    )


def _soundly_dated(about: Description) -> Description:
    """A time long before photography is a camera's error, and no reason to leave all out."""
    is_sound = about.taken_at is None or moments.is_of_photograph(about.taken_at)
    return about if is_sound else replace(about, taken_at=None)


def _checked(about: Description) -> Description:
    """Return what the gallery will take. Raise ImageRefused."""
    if len(about.captions) > MAX_CAPTIONS:
        raise ImageRefused(f"There are more than {MAX_CAPTIONS} captions.")
    for source, text in about.captions:
        texts.line(source, name="caption's source", longest=100)
        texts.text(text, name="caption", longest=MAX_CAPTION)
    if (about.latitude is None) != (about.longitude is None):
        raise ImageRefused("A place needs a latitude and a longitude.")
    if not (abs(about.latitude or 0) <= 90 and abs(about.longitude or 0) <= 180):
        raise ImageRefused("There is no place of that latitude and longitude.")
    if about.taken_at is not None and not moments.is_of_photograph(about.taken_at):
        raise ImageRefused(f"Nothing was photographed in {about.taken_at.year}.")
    return replace(
        about,
        caption=texts.text(about.caption, name="caption", longest=MAX_CAPTION),
        tags=texts.tags(about.tags),
        album=texts.line(about.album, name="album's name", longest=200),
        category=texts.line(about.category, name="category", longest=100),
        metadata=texts.metadata(about.metadata),
        source_url=texts.http_url(about.source_url, longest=2000),
        licence=texts.line(about.licence, name="licence", longest=200),
        attribution=texts.line(about.attribution, name="attribution", longest=500),
        camera=texts.line(about.camera, name="camera", longest=200),
    )


def _brief(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    text = getattr(error, "strerror", None) or str(error)
    return texts.printable(text)[:300].rstrip(".")
