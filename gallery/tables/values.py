"""Values of cells as an image's record takes them. What is not of the kind asked for is None."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

from gallery import moments, texts

_WHOLE = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")  # no leading zeros: those are names, such as 0042
_FRACTION = re.compile(r"-?(?:0|[1-9][0-9]{0,17})\.[0-9]{1,20}(?:[eE][+-]?[0-9]{1,2})?")
_CONSTANTS = {"true": True, "false": False}
_MOST_NAMED = 100  # of what is left out of metadata
_SEPARATORS = "|;,"  # of tags, the first that occurs


def typed(text: str) -> str | int | float | bool:
    """Return a number for a text that spells one, a truth for true and false, else the text."""
    trimmed = text.strip()
    if trimmed.lower() in _CONSTANTS:
        return _CONSTANTS[trimmed.lower()]
    if _WHOLE.fullmatch(trimmed):
        return int(trimmed)
    if _FRACTION.fullmatch(trimmed):
        return float(trimmed)
    return trimmed


def for_metadata(value: Any) -> Any:
    """Return the value as JSON holds it; None for what says nothing."""
    if isinstance(value, str):
        return None if not value.strip() else typed(value)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal):
        return for_metadata(float(value))
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(name): for_metadata(within) for name, within in value.items()} or None
    if isinstance(value, list | tuple | set):
        return [for_metadata(within) for within in value] or None
    return str(value)


def metadata(cells: Mapping[str, Any]) -> dict[str, Any]:
    """Return cells as metadata that is not refused; the longest go where it would be too much.

    `left_out` names those, so that none is missed unknowingly.
    """
    values = {
        name: value for name, cell in cells.items() if (value := for_metadata(cell)) is not None
    }
    size_by_name = {name: _size({name: value}) for name, value in values.items()}
    total, left_out = sum(size_by_name.values()) + 200, []
    for longest in sorted(size_by_name, key=size_by_name.__getitem__, reverse=True):
        if total <= texts.MAX_METADATA_BYTES:
            break
        left_out.append(longest[:100])
        if len(left_out) <= _MOST_NAMED:
            total += _size(left_out[-1])
        total -= size_by_name[longest]
        del values[longest]
    if len(left_out) > _MOST_NAMED:
        left_out[_MOST_NAMED:] = [f"and {len(left_out) - _MOST_NAMED:,} more"]
    return {**values, "left_out": left_out} if left_out else values


def _size(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False).encode()) + 2


def text(value: Any) -> str:
    """Return what a cell says, trimmed; "" where it says nothing or more than one thing."""
    if isinstance(value, bool) or value is None or isinstance(value, Mapping | list | tuple | set):
        return ""
    if isinstance(value, float) and not math.isfinite(value):
        return ""
    return str(value).strip()


def all_texts(value: Any) -> list[str]:
    """Return all that a cell says: a list's members, or the one text."""
    values = value if isinstance(value, list | tuple) else [value]
    return [said for one in values if (said := text(one))]


def prose(text: str) -> str:
    """Return a text of one or more lines without control characters and half surrogates."""
    kept = (
        character
        if character == "\n" or unicodedata.category(character) not in {"Cc", "Cs"}
        else " "
        for character in text.replace("\r\n", "\n")
    )
    return "".join(kept).strip()


def tags(value: Any, separator: str = "") -> list[str]:
    """Return the tags in a cell: a list, a JSON array, or a text with separators.

    Without a `separator` it is the first of | ; and comma that occurs.
    """
    if isinstance(value, str):
        value = _split(value.strip(), separator)
    return all_texts(value)


def _split(value: str, separator: str) -> list[Any]:
    if value.startswith("[") and not separator:
        try:
            parsed = json.loads(value)
        except (ValueError, RecursionError):
            parsed = None
        if isinstance(parsed, list):
            return parsed
    separator = separator or next((one for one in _SEPARATORS if one in value), "")
    return value.split(separator) if separator else [value]


def within_tags(names: Iterable[str]) -> tuple[tuple[str, ...], list[str]]:
    """Return as many of the names as an image may have as tags, and the rest."""
    taken: dict[str, None] = {}
    rest: list[str] = []
    for name in names:
        known = texts.printable(name).lower()
        if len(name) > texts.MAX_TAG or len(known) > texts.MAX_TAG or not known:
            rest.append(name)
        elif known in taken or len(taken) < texts.MAX_TAGS:
            taken[known] = None
        else:
            rest.append(name)
    return tuple(taken), rest


def number(value: Any) -> float | None:
    """Return a finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def place(latitude: Any, longitude: Any) -> tuple[float, float] | None:
    """Return the two in degrees where both are there and are a place on Earth."""
    north, east = number(latitude), number(longitude)
    if north is None or east is None or abs(north) > 90 or abs(east) > 180:
        return None
    if north == east == 0:
        return None  # what is written where nothing is known
    return north, east


def moment(value: Any) -> datetime | None:
    """Return a time of capture: ISO 8601, or as EXIF writes it."""
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    if isinstance(value, str):
        value = _parsed(value.strip())
    if not isinstance(value, datetime):
        return None
    return value if moments.is_of_photograph(value) else None


def _parsed(value: str) -> datetime | None:
    for parse in (
        datetime.fromisoformat,
        lambda text: datetime.strptime(text, "%Y:%m:%d %H:%M:%S"),
    ):
        try:
            return parse(value)
        except ValueError:
            continue
    return None
