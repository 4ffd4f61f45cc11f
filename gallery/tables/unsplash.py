"""The Unsplash Dataset as it is published: `photos` and `keywords`, by their columns.

https://github.com/unsplash/datasets/blob/master/DOCS.md
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from gallery import texts
from gallery.descriptions import Description
from gallery.tables import BadRow, Row, values
from gallery.tables.addresses import is_source_url, with_query

LICENCE = "Unsplash License"

_PHOTOS = frozenset({"photo_id", "photo_image_url"})
_KEYWORDS = frozenset({"photo_id", "keyword"})
_TRUTHS = {"t": True, "f": False}
_SAID_ELSEWHERE = frozenset(
    {"photo_url", "photo_image_url", "photo_width", "photo_height", "photo_aspect_ratio"}
    | {"photo_description", "ai_description"}
    | {"photographer_first_name", "photographer_last_name"}
    | {"exif_camera_make", "exif_camera_model"}
)


def is_photos(columns: Iterable[str]) -> bool:
    """Say whether a table of these columns is the dataset's `photos`."""
    return set(columns) >= _PHOTOS


def is_keywords(columns: Iterable[str]) -> bool:
    """Say whether a table of these columns is the dataset's `keywords`."""
    return set(columns) >= _KEYWORDS


def image_url(cells: Mapping[str, Any], width: int = 0) -> str:
    """Return the address of the file, so many pixels wide; 0: as it was uploaded."""
    url = values.text(cells.get("photo_image_url"))
    return with_query(url, {"w": str(width), "fit": "max"}) if width and url else url


def keywords(rows: Iterable[Row | BadRow]) -> Iterator[tuple[str, tuple[float, str]]]:
    """Yield (photo id, (how sure it is, keyword)); what a person gave is surest."""
    for row in rows:
        if isinstance(row, Row):
            keyword = values.text(row.cells.get("keyword"))
            if photo_id := values.text(row.cells.get("photo_id")):
                yield photo_id, (_sureness(row.cells), keyword)


def _sureness(cells: Mapping[str, Any]) -> float:
    if _TRUTHS.get(str(cells.get("suggested_by_user")), cells.get("suggested_by_user")) is True:
        return 1000.0
    services = ("ai_service_1_confidence", "ai_service_2_confidence")
    return max(values.number(cells.get(service)) or 0.0 for service in services)


def describe(cells: Mapping[str, Any], found: Iterable[tuple[float, str]] = ()) -> Description:
    """Return what a row of `photos` says, with its keywords as tags, the surest first."""
    by_sureness = sorted(found, key=lambda one: (-one[0], one[1]))
    tags, more_tags = values.within_tags(keyword for _, keyword in by_sureness if keyword)
    rest = {name: cell for name, cell in cells.items() if name not in _SAID_ELSEWHERE}
    place = values.place(rest.get("photo_location_latitude"), rest.get("photo_location_longitude"))
    if place is not None:
        del rest["photo_location_latitude"], rest["photo_location_longitude"]
    rest["photo_featured"] = _TRUTHS.get(
        str(rest.get("photo_featured")), rest.get("photo_featured")
    )
    page = values.text(cells.get("photo_url"))
    said = (("unsplash", "photo_description"), ("unsplash-ai", "ai_description"))
    return Description(
        captions=tuple(
            (source, text)
            for source, name in said
            if (text := values.prose(values.text(cells.get(name))))
        ),
        tags=tags,
        source_url=page if is_source_url(page) else "",
        licence=LICENCE,
        attribution=texts.printable(_photographer(cells))[:500],
        camera=texts.printable(_camera(cells))[:200],
        latitude=place[0] if place else None,
        longitude=place[1] if place else None,
        metadata=values.metadata({**rest, "more_tags": more_tags}),
    )


def _photographer(cells: Mapping[str, Any]) -> str:
    names = ("photographer_first_name", "photographer_last_name")
    full = " ".join(filter(None, (values.text(cells.get(name)) for name in names)))
    return full or values.text(cells.get("photographer_username"))


def _camera(cells: Mapping[str, Any]) -> str:
    make = values.text(cells.get("exif_camera_make"))
    model = values.text(cells.get("exif_camera_model"))
    # As EXIF is read: "Canon" and "Canon EOS 5D" are one camera.
    if make and model.lower().startswith(make.split()[0].lower()):
        return model
    return f"{make} {model}".strip()
