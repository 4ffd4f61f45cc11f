"""Google Takeout: which JSON file belongs to which image, and what it says.

Google writes `IMG_1.jpg.json`, since 2024 `IMG_1.jpg.supplemental-metadata.json`, and cuts what
stands before `.json` to 46 UTF-16 units. The number of a second `IMG_1(1).jpg` goes to the end and
is never cut: `IMG_1.jpg.supplemental-metadata(1).json`. Edited copies have no file of their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeGuard

from gallery.descriptions import Description

_UNITS = 46  # of UTF-16, before ".json"
_NAME_UNITS = 47  # of an image's own name, before its suffix
_MARK = ".supplemental-metadata"
_NUMBERED = re.compile(r"(.*)(\(\d{1,4}\))(\.[^.]*)?", re.DOTALL)
# What Google adds to the name of an edited copy, in the languages that people have reported.
_EDITED = (
    "-edited", "-effects", "-smile", "-mix", "-collage", "-animation", "-bearbeitet", "-modifié",
    "-editado", "-ha editado", "-editada", "-modificato", "-bewerkt", "-edytowane", "-redigerad",
    "-redigert", "-redigeret", "-muokattu", "-editat", "-upraveno",
    "-編集済み", "-已修改", "-수정됨",
)  # fmt: skip
_ALBUM_FILE = re.compile(
    r"(?:metadata|metadaten|métadonnées|metadatos|metadati|metadados|metagegevens|metadane"
    r"|метаданные|メタデータ)(?:\(\d{1,4}\))?\.json"
)
_YEAR_FOLDER = re.compile(r".+ (?:18|19|20)\d\d")


def sidecar_names(image: str) -> Iterator[str]:
    """Yield what the JSON file of an image may be called, the likeliest first."""
    yield from _names(image)
    original = _unedited(image)
    if original != image:
        yield from _names(original)


def is_edited(image: str) -> bool:
    """Whether the name is that of an edited copy, which shares its original's sidecar."""
    return _unedited(image) != image


def is_album_file(name: str) -> bool:
    """Whether a JSON file is named as the one that describes a folder's album."""
    return _ALBUM_FILE.fullmatch(name.lower()) is not None


def is_year_folder(name: str) -> bool:
    """Whether a folder is named like "Photos from 2019", in any language."""
    return _YEAR_FOLDER.fullmatch(name) is not None


def is_of_image(said: Mapping[str, Any]) -> bool:
    return isinstance(said.get("photoTakenTime"), dict)


def album_title(said: Mapping[str, Any]) -> str:
    """Return the album's title, "" where the file is not of an album."""
    data = said.get("albumData", said)
    title = data.get("title") if isinstance(data, dict) and not is_of_image(data) else ""
    return title if isinstance(title, str) else ""


def is_trashed(said: Mapping[str, Any]) -> bool:
    return said.get("trashed") is True


def title(said: Mapping[str, Any]) -> str:
    """Return the image's name before it was cut."""
    return _text(said, "title")


def describe(said: Mapping[str, Any]) -> Description:
    """Return what the JSON file of an image says. Raise ValueError where it is not understood."""
    latitude, longitude = _place(said)
    metadata = {name: True for name in ("favorited", "archived") if said.get(name) is True}
    people = said.get("people")
    return Description(
        caption=_text(said, "description"),
        tags=tuple(
            person["name"]
            for person in (people if isinstance(people, list) else [])
            if isinstance(person, dict) and isinstance(person.get("name"), str)
        ),
        metadata=metadata,
        source_url=_text(said, "url"),
        taken_at=_taken_at(said),
        latitude=latitude,
        longitude=longitude,
    )


def _names(image: str) -> Iterator[str]:
    yield f"{image}.json"
    match = _NUMBERED.fullmatch(image)
    name, number = (image, "") if match is None else (match[1] + (match[3] or ""), match[2])
    for whole in (name + _MARK, name):
        yield f"{_cut(whole, _UNITS)}{number}.json"
    if number:
        yield f"{_cut(image + _MARK, _UNITS)}.json"  # a number that is part of the name
    if number and _units(name) > _UNITS:
        # Two names that were cut to the same share one file.
        yield f"{_cut(name, _UNITS)}.json"


def _unedited(image: str) -> str:
    stem, dot, suffix = image.rpartition(".")
    match = _NUMBERED.fullmatch(stem)
    number = ""
    if match is not None and not match[3]:
        stem, number = match[1], match[2]
    for mark in _EDITED:
        if stem.endswith(mark):
            return stem.removesuffix(mark) + number + dot + suffix
        if _units(stem) == _NAME_UNITS:
            for end in range(len(mark) - 1, 2, -1):
                if stem.endswith(mark[:end]):
                    return stem[:-end] + number + dot + suffix
    return image


def _units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _cut(text: str, units: int) -> str:
    return text.encode("utf-16-le", "surrogatepass")[: 2 * units].decode("utf-16-le", "ignore")


def _text(said: Mapping[str, Any], name: str) -> str:
    value = said.get(name, "")
    if not isinstance(value, str):
        raise ValueError(f"“{name}” is not a text")
    return value


def _taken_at(said: Mapping[str, Any]) -> datetime | None:
    seconds = said["photoTakenTime"].get("timestamp")
    if not isinstance(seconds, str | int) or not re.fullmatch(r"-?\d{1,12}", str(seconds)):
        raise ValueError("“photoTakenTime” holds no time")
    # Google writes 0 for an image of which it knows no time. Not fromtimestamp: it cannot 1850
    # everywhere.
    if not int(seconds):
        return None
    try:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=int(seconds))
    except OverflowError:
        return None  # as absurd as the year 1800, and no reason to leave the rest out


def _place(said: Mapping[str, Any]) -> tuple[float | None, float | None]:
    for name in ("geoData", "geoDataExif"):
        data = said.get(name)
        if not isinstance(data, dict):
            continue
        latitude, longitude = data.get("latitude"), data.get("longitude")
        # 0, 0 is what Google writes for nowhere.
        if _is_number(latitude) and _is_number(longitude) and (latitude or longitude):
            return latitude, longitude
    return None, None


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
