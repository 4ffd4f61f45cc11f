"""The fields that a filter may name: what each is called, how its values are read, what it asks.

The one list of them. Pages, API and docs take their names, operators and examples from here, and
nothing that is not here, or not below `meta.`, ever reaches a query.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gallery.errors import QueryInvalid
from gallery.inspection import MIME_TYPES
from gallery.models import LinkState, State, Visibility
from gallery.query import colours, lookups, values
from gallery.query.operators import CLOSED, ORDERED, Operator

if TYPE_CHECKING:
    from django.db.models import Q

    from gallery.query.lookups import Lookup, Viewer

MAX_LIST = 100
MAX_KEYS = 10  # levels of nested metadata
MAX_KEY = 100  # characters

META = "meta"

FORMATS = tuple(dict.fromkeys(mime.removeprefix("image/") for mime in MIME_TYPES.values()))
ORIENTATIONS = ("landscape", "portrait", "square")

_TEXT = (*CLOSED, Operator.CONTAINS, Operator.EXISTS)
_NUMBER = (*CLOSED, *ORDERED)
_PIECE = re.compile(r'[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"')


@dataclass(frozen=True, kw_only=True)
class Field:
    """One field of a filter."""

    name: str
    title: str  # what people see
    operators: tuple[Operator, ...]
    read: Callable[[object], Any]  # a value that is immutable and hashable; or ValueError
    expects: str  # what a value must be, with an example
    lookup: Lookup
    example: str  # a condition
    write: Callable[[object], str] = values.written
    needs_login: bool = False  # it tells what visitors are not told

    @property
    def colon(self) -> Operator | None:
        """What `field:value` means, if anything."""
        first = self.operators[0]
        return first if first in (Operator.IS, Operator.CONTAINS) else None

    def value(self, operator: Operator, value: object) -> object:
        """Return the value as the operator compares with it; raise QueryInvalid, naming us."""
        if operator not in self.operators:
            known = " ".join(self.operators)
            raise QueryInvalid(f"“{self.name}” takes {known}, and not {operator}.")
        if operator == Operator.EXISTS:
            if value is not True:
                raise QueryInvalid(f"“{self.name} exists” takes no value.")
            return True
        if operator != Operator.IN:
            return self._read(value)
        if not isinstance(value, list | tuple) or not 1 <= len(value) <= MAX_LIST:
            raise QueryInvalid(f"“{self.name} in” takes a list of 1 to {MAX_LIST} values.")
        return tuple(dict.fromkeys(map(self._read, value)))

    def _read(self, value: object) -> object:
        try:
            return self.read(value)
        except ValueError:
            # Not what JSON nested a thousand deep prints.
            shown = str(value)[:60] if isinstance(value, str | int | float) else "this"
            raise QueryInvalid(f"“{self.name}” must be {self.expects}; {shown!r} is not.") from None

    def q(self, operator: Operator, value: object, viewer: Viewer) -> Q:
        """Return the condition on images; raise QueryInvalid where the viewer may not ask it."""
        if self.needs_login and not (viewer is not None and viewer.is_authenticated):
            raise QueryInvalid(f"“{self.name}” is for people who are logged in.")
        if operator == Operator.IS_NOT:
            return ~self.lookup(Operator.IS, value, viewer)
        return self.lookup(operator, value, viewer)


def field_of(name: str) -> Field:
    """Return the field of this name; raise QueryInvalid, naming it, when there is none."""
    if name in FIELDS and name != META:
        return FIELDS[name]
    if name.startswith(f"{META}."):
        keys = _keys(name)
        return replace(
            FIELDS[META], name=canonical(keys), lookup=lookups.one_by_one(lookups.metadata(keys))
        )
    raise QueryInvalid(f"There is no field “{name[:60]}”; there are {', '.join(FIELDS)}.KEY.")


def canonical(keys: tuple[str, ...]) -> str:
    """Return the field of a path of metadata keys: meta.exif.iso, meta."shot at"."""
    return ".".join([META, *map(_written_key, keys)])


def _written_key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key, ensure_ascii=False)


def _keys(name: str) -> tuple[str, ...]:
    keys: list[str] = []
    at = len(META)
    while at < len(name):
        piece = _PIECE.match(name, at + 1) if name[at] == "." else None
        if piece is None:
            raise QueryInvalid(
                f"“{name[:60]}” is no metadata key; write meta.iso, meta.exif.iso "
                'or meta."a key of any characters".'
            )
        keys.append(_key(piece[0]))
        at = piece.end()
    if not 1 <= len(keys) <= MAX_KEYS:
        raise QueryInvalid(f"“{META}.” takes 1 to {MAX_KEYS} keys, with dots between.")
    return tuple(keys)


def _key(piece: str) -> str:
    key = re.sub(r"\\(.)", r"\1", piece[1:-1]) if piece.startswith('"') else piece
    try:
        return values.text(MAX_KEY, clean=str)(key)
    except ValueError:
        raise QueryInvalid(
            f"A metadata key has 1 to {MAX_KEY} characters; “{key[:60]}” has not."
        ) from None


def _text(name: str, title: str, example: str, *, column: str = "", longest: int = 200) -> Field:
    return Field(
        name=name,
        title=title,
        operators=_TEXT,
        read=values.text(longest),
        expects=f"a text of 1 to {longest} characters",
        lookup=lookups.one_by_one(lookups.text(column or name)),
        example=example,
    )


def _choice(name: str, title: str, words: tuple[str, ...], example: str) -> Field:
    return Field(
        name=name,
        title=title,
        operators=CLOSED,
        read=values.word(*words),
        expects=" or ".join(words),
        lookup=lookups.choice(name),
        example=example,
    )


def _moment(name: str, title: str, column: str, example: str) -> Field:
    # Each image was added some day, but not of each is known when it was taken.
    exists = (Operator.EXISTS,) if column == "taken_at" else ()
    return Field(
        name=name,
        title=title,
        operators=(*CLOSED, *ORDERED, *exists),
        read=values.period,
        expects="a day, month or year such as 2024-05-31, 2024-05 or 2024, or a range: 2023..2024",
        lookup=lookups.one_by_one(lookups.moment(column)),
        example=example,
    )


def _edge(name: str, title: str) -> Field:
    return Field(
        name=name,
        title=title,
        operators=_NUMBER,
        read=values.whole,
        expects="a whole number of pixels, such as 800",
        lookup=lookups.one_by_one(lookups.number(name)),
        example=f"{name}>=800",
    )


_ALL = (
    Field(
        name="tag",
        title="Tag",
        operators=(*CLOSED, Operator.EXISTS),
        read=values.tag,
        expects="a tag of 1 to 100 characters",
        lookup=lookups.tagged,
        example="tag in (sea, night)",
    ),
    Field(
        name="album",
        title="Album",
        operators=(*CLOSED, Operator.EXISTS),
        read=values.text(200),
        expects="an album's name of 1 to 200 characters",
        lookup=lookups.one_by_one(lookups.in_album),
        example='album:"Summer 2024"',
    ),
    _text("category", "Category", "category:demo", longest=100),
    Field(
        name="owner",
        title="Owner",
        operators=CLOSED,
        read=values.text(150),
        expects="a user name, as it is spelled",
        lookup=lookups.choice("owner__username"),
        example="owner:ann",
        needs_login=True,
    ),
    _moment("taken", "Taken", "taken_at", "taken>=2024-05"),
    _moment("added", "Added", "added_at", "added:2025"),
    _edge("width", "Width"),
    _edge("height", "Height"),
    Field(
        name="orientation",
        title="Orientation",
        operators=CLOSED,
        read=values.word(*ORIENTATIONS),
        expects=" or ".join(ORIENTATIONS),
        lookup=lookups.one_by_one(lookups.oriented),
        example="orientation:portrait",
    ),
    Field(
        name="megapixels",
        title="Megapixels",
        operators=ORDERED,
        read=values.positive,
        expects="a number of megapixels, such as 2.5",
        lookup=lookups.megapixels,
        example="megapixels>=12",
    ),
    Field(
        name="size",
        title="File size",
        operators=_NUMBER,
        read=values.size,
        expects="a size such as 500kB, 2MB or 1.5MiB",
        lookup=lookups.one_by_one(lookups.number("bytes")),
        example="size>2MB",
        write=values.written_size,
    ),
    Field(
        name="format",
        title="Format",
        operators=CLOSED,
        read=values.word(*FORMATS, also={"jpg": "jpeg", "tif": "tiff", "heif": "heic"}),
        expects=" or ".join(FORMATS),
        lookup=lookups.image_format,
        example="format in (png, webp)",
    ),
    _text("camera", "Camera", 'camera:"Canon EOS 5D"'),
    Field(
        name="near",
        title="Near a place",
        operators=(Operator.IS, Operator.IS_NOT),
        read=values.near,
        expects="latitude, longitude and distance such as 52.52,13.40,5km",
        lookup=lookups.near,
        example="near:52.52,13.40,5km",
        needs_login=True,
    ),
    Field(
        name="colour",
        title="Colour",
        operators=CLOSED,
        read=values.colour(colours.NAMES),
        expects=f"#336699, #336699~15, #336699~15@30% or one of {', '.join(colours.NAMES)}",
        lookup=lookups.one_by_one(colours.coloured),
        example="colour:#336699~15",
    ),
    _text("licence", "Licence", 'licence:"all rights reserved"'),
    _text("attribution", "Attribution", "attribution~museum", longest=500),
    _choice("state", "State", tuple(State.values), "state:ready"),
    _choice("visibility", "Visibility", tuple(Visibility.values), "visibility:public"),
    replace(
        _choice("link", "Source link", tuple(LinkState.values), "link:broken"),
        lookup=lookups.one_by_one(lookups.linked),
    ),
    replace(
        _text("caption", "Caption", 'caption~"red boat"'),
        operators=(Operator.CONTAINS, Operator.EXISTS),
        # Stored with its invisible signs: Persian and joined emoji are other texts without them.
        read=values.text(200, clean=str.strip),
        lookup=lookups.captioned,
    ),
    replace(
        _text("name", "File name", "name~beach", column="original_name", longest=255),
        operators=(Operator.CONTAINS, *CLOSED),
    ),
    Field(
        name="id",
        title="Id",
        operators=CLOSED,
        read=values.image_id,
        expects="the id of an image",
        lookup=lookups.choice("uuid"),
        example="id in (0190c8f0-5b7e-4c3e-9a51-0d3f6a1c2b4d)",
    ),
    Field(
        name="video",
        title="Video",
        operators=(*CLOSED, Operator.EXISTS),
        read=values.image_id,
        expects="the id of a video",
        lookup=lookups.framed,
        example="video exists",
    ),
    # Always with a key: field_of("meta.iso").
    Field(
        name=META,
        title="Metadata",
        operators=(*CLOSED, *ORDERED, Operator.CONTAINS, Operator.EXISTS),
        read=values.scalar,
        expects="a number, true, false or a text of 1 to 500 characters",
        lookup=lookups.metadata(()),
        example="meta.iso>=400",
    ),
)

FIELDS = {field.name: field for field in _ALL}
