"""What the columns of a table tell about an image: recognised by their usual names, or chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from gallery import texts
from gallery.descriptions import Description
from gallery.importers import SourceUnreadable
from gallery.ingest import MAX_CAPTION, MAX_CAPTIONS
from gallery.tables import licences, values
from gallery.tables.addresses import is_source_url

# Names as `_plain` makes them, the likeliest first.
_NAMES: dict[str, tuple[str, ...]] = {
    "url": (
        "imageurl", "photoimageurl", "imgurl", "pictureurl", "photourl", "mediaurl", "fileurl",
        "originalurl", "downloadurl", "cocourl", "flickrurl", "imagelink", "imagesrc", "url",
        "uri", "link", "src", "href", "address",
    ),
    "path": (
        "imagepath", "filename", "filepath", "imagefile", "imagename", "imgpath", "path", "file",
        "image", "img", "photo", "picture",
    ),
    "captions": (
        "caption", "captions", "text", "description", "imagedescription", "alt", "alttext", "title",
        "prompt",
    ),
    "tags": ("tags", "tag", "keywords", "keyword", "labels", "subjects"),
    "album": ("album", "albumname", "gallery", "set"),
    "category": ("category", "class", "classname", "label"),
    "licence": ("licence", "license", "rights", "licenceurl", "licenseurl"),
    "attribution": (
        "attribution", "author", "photographer", "artist", "creator", "credit", "byline",
        "copyright",
    ),
    "taken_at": (
        "takenat", "datetaken", "taken", "capturedat", "datetimeoriginal", "shotat", "date",
        "datetime",
    ),
    "latitude": ("latitude", "lat", "gpslatitude"),
    "longitude": ("longitude", "lon", "lng", "long", "gpslongitude"),
    "camera": ("camera", "cameramodel"),
    "source_url": (
        "sourceurl", "pageurl", "landingurl", "originallandingurl", "permalink", "webpage",
        "source",
    ),
    # What the file itself says better.
    "ignored": ("width", "height", "imagewidth", "imageheight"),
}  # fmt: skip
_ROLE_BY_NAME = {name: role for role, names in _NAMES.items() for name in names}


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Which column plays which part; "" or none where no column does."""

    url: str = ""
    path: str = ""
    captions: tuple[str, ...] = ()  # the first that says something is the caption itself
    tags: str = ""
    album: str = ""
    category: str = ""
    licence: str = ""
    attribution: str = ""
    taken_at: str = ""
    latitude: str = ""
    longitude: str = ""
    camera: str = ""
    source_url: str = ""
    ignored: tuple[str, ...] = ()


def is_known(column: str) -> bool:
    """Say whether a column of this name would be recognised."""
    return _plain(column) in _ROLE_BY_NAME


def recognise(columns: Sequence[str], chosen: Mapping[str, str]) -> Columns:
    """Return the part of each column; `chosen` names columns by the field of Columns.

    Raise SourceUnreadable where a chosen column is missing, or none has addresses or paths.
    """
    listed = ", ".join(columns[:50])
    for option, column in chosen.items():
        if column not in columns:
            raise SourceUnreadable(
                f"The table has no column “{column}” ({option}_column); it has: {listed}."
            )
    free = [column for column in columns if column not in chosen.values()]
    found: dict[str, Any] = {}
    for one in fields(Columns):
        several = one.name in ("captions", "ignored")
        option = "caption" if one.name == "captions" else one.name
        if option in chosen:
            found[one.name] = (chosen[option],) if several else chosen[option]
        else:
            candidates = _candidates(one.name, free)
            found[one.name] = tuple(candidates) if several else next(iter(candidates), "")
    if not found["url"] and not found["path"]:
        raise SourceUnreadable(
            "No column is known to hold the images' addresses or paths; name it by url_column or "
            f"path_column. The columns are: {listed}."
        )
    return Columns(**found)


def _candidates(role: str, columns: Sequence[str]) -> list[str]:
    ranks = {name: rank for rank, name in enumerate(_NAMES[role])}
    known = [column for column in columns if _plain(column) in ranks]
    return sorted(known, key=lambda column: ranks[_plain(column)])


def _plain(column: str) -> str:
    return "".join(character for character in column.casefold() if character.isalnum())


def describe(cells: Mapping[str, Any], columns: Columns, *, separator: str = "") -> Description:
    """Return what a row says about its image.

    A cell that its part cannot take, such as a date that is none, goes to the metadata with all
    columns that play no part.
    """
    done = {columns.url, columns.path, *columns.ignored} - {""}
    rest = {name or "unnamed": cell for name, cell in cells.items() if name not in done}
    caption, captions = _captions(rest, columns.captions)
    tags, more_tags = values.within_tags(values.tags(rest.pop(columns.tags, None), separator))
    if more_tags:
        rest["more_tags"] = more_tags
    place = values.place(rest.get(columns.latitude), rest.get(columns.longitude))
    if place is not None:
        del rest[columns.latitude], rest[columns.longitude]
    taken_at = values.moment(rest.get(columns.taken_at))
    if taken_at is not None:
        del rest[columns.taken_at]
    return Description(
        caption=caption,
        captions=captions,
        tags=tags,
        album=_take(rest, columns.album, longest=200),
        category=_take(rest, columns.category, longest=100),
        licence=licences.named(_take(rest, columns.licence, longest=200)),
        attribution=_take(rest, columns.attribution, longest=500),
        camera=_take(rest, columns.camera, longest=200),
        source_url=_take_url(rest, columns.source_url),
        taken_at=taken_at,
        latitude=place[0] if place else None,
        longitude=place[1] if place else None,
        metadata=values.metadata(rest),
    )


def _captions(
    rest: dict[str, Any], columns: Sequence[str]
) -> tuple[str, tuple[tuple[str, str], ...]]:
    said: list[tuple[str, str]] = []
    for name in columns:
        heard = [text for one in values.all_texts(rest.get(name)) if (text := values.prose(one))]
        if heard and max(map(len, heard)) <= MAX_CAPTION:
            said += [(texts.printable(name)[:100], text) for text in heard]
            del rest[name]
    further = list(dict.fromkeys(said[1:]))
    if len(further) > MAX_CAPTIONS:
        rest["more_captions"] = [text for _, text in further[MAX_CAPTIONS:]]
    return said[0][1] if said else "", tuple(further[:MAX_CAPTIONS])


def _take(rest: dict[str, Any], column: str, *, longest: int) -> str:
    """Take a text out of the rest, where it is one that the record's field can hold."""
    said = texts.printable(values.text(rest.get(column)))
    if not said or len(said) > longest:
        return ""
    del rest[column]
    return said


def _take_url(rest: dict[str, Any], column: str) -> str:
    said = values.text(rest.get(column))
    if not said or not is_source_url(said):
        return ""
    del rest[column]
    return said
