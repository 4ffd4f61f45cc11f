"""The kinds of value that a condition has: how each is read from what a person wrote.

Every reader takes a text, or the same as JSON has it, or a value that was read before, and returns
an immutable, hashable value. It raises ValueError for anything else; the field says what is right.
"""

from __future__ import annotations

import calendar
import math
import re
import unicodedata
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from enum import Enum

from gallery.texts import printable

MAX_NUMBER = 10**15
HALF_ROUND_KM = 20_038.0  # no two places on Earth lie further apart

_UNITS = {
    "": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9,
    "kib": 2**10, "mib": 2**20, "gib": 2**30,
}  # fmt: skip
_PERIOD = re.compile(r"(\d{4})(?:-(\d\d?)(?:-(\d\d?))?)?", re.ASCII)
_DISTANCE = re.compile(r"([0-9.e+-]+) ?(km|m)?", re.IGNORECASE)
_COLOUR = re.compile(r"#([0-9a-f]{6})(?:~(\d+\.?\d*))?(?:@(\d+\.?\d*)(%?))?", re.ASCII)


class Bare(str):
    """A value that was written without quotes, so that 400 may be a number and true a truth."""

    __slots__ = ()


class Truth(Enum):
    """A JSON truth. Not a bool, because True == 1: two conditions would be taken for one."""

    TRUE = "true"
    FALSE = "false"


@dataclass(frozen=True)
class Period:
    """Some days on end, first and last included: a day, a month, a year, or any stretch."""

    first: date
    last: date


@dataclass(frozen=True)
class Near:
    """A circle on the Earth: degrees north and east, and its radius."""

    latitude: float
    longitude: float
    kilometres: float


@dataclass(frozen=True)
class Colour:
    """A colour, how far another may be from it, and how much of the image it must fill."""

    hex: str  # "#336699"
    tolerance: float = 15.0  # distance in CIELAB (CIE76): 2 is just seen, 100 is black from white
    share: float = 0.1  # of the pixels, 0 to 1


def text(longest: int, *, clean: Callable[[str], str] = printable) -> Callable[[object], str]:
    """Read a text as it is stored: on one line, or as `clean` leaves it."""

    def read(value: object) -> str:
        if not isinstance(value, str) or len(value) > 2 * longest:
            raise ValueError
        if any(unicodedata.category(character) in ("Cs", "Cc") for character in value):
            raise ValueError
        cleaned = clean(value)
        if not 1 <= len(cleaned) <= longest:
            raise ValueError
        return cleaned

    return read


def tag(value: object) -> str:
    """Return the name as `texts.tags` stores it: lower case, trimmed."""
    return text(100)(text(100)(value).lower())


def word(*words: str, also: dict[str, str] | None = None) -> Callable[[object], str]:
    """Read one of some words, in any case; `also` maps further spellings to them."""
    spellings = {word: word for word in words} | (also or {})

    def read(value: object) -> str:
        if isinstance(value, str) and value.strip().lower() in spellings:
            return spellings[value.strip().lower()]
        raise ValueError

    return read


def whole(value: object) -> int:
    number = decimal(value)
    if number != int(number):
        raise ValueError
    return int(number)


def positive(value: object) -> float:
    return float(decimal(value))


def decimal(value: object) -> Decimal:
    """Return a number from 0 to MAX_NUMBER."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError
    if isinstance(value, str) and len(value) > 40:
        raise ValueError
    if isinstance(value, int) and not 0 <= value <= MAX_NUMBER:  # before it is written out
        raise ValueError
    try:
        number = Decimal(str(value).strip())
    except InvalidOperation:
        raise ValueError from None
    if not number.is_finite() or not 0 <= number <= MAX_NUMBER:
        raise ValueError
    return number


def size(value: object) -> int:
    """Return a number of bytes from 2000000, "2MB" or "1.5 MiB"."""
    unit = ""
    if isinstance(value, str):
        value = value.strip()
        letters = re.search(r"[A-Za-z]*$", value)
        unit = letters[0].lower() if letters else ""
        value = value[: len(value) - len(unit)]
    if unit not in _UNITS:
        raise ValueError
    return whole(str(decimal(value) * _UNITS[unit]))


def period(value: object) -> Period:
    """Return the days of "2024", "2024-05", "2024-05-31" or "2024-05..2024-07"."""
    match value:
        case Period() if value.first <= value.last:
            return value
        case datetime():
            return Period(value.date(), value.date())
        case date():
            return Period(value, value)
        case bool():
            raise ValueError
        case int() | str() if len(str(value)[:40]) < 40:
            first, dots, last = str(value).strip().partition("..")
            read = Period(_days(first).first, _days(last if dots else first).last)
            if read.first <= read.last:
                return read
    raise ValueError


def _days(written: str) -> Period:
    parts = _PERIOD.fullmatch(written.strip())
    if parts is None:
        raise ValueError
    year, month, day = (int(part) if part else None for part in parts.groups())
    assert year is not None  # the pattern has it
    first = date(year, month or 1, day or 1)  # ValueError for a 13th month
    if day is not None:
        return Period(first, first)
    last_month = month or 12
    return Period(first, date(year, last_month, calendar.monthrange(year, last_month)[1]))


def near(value: object) -> Near:
    """Return the circle of "52.52,13.40,5km" or [52.52, 13.40, 5]."""
    if isinstance(value, Near):
        value = written(value)
    parts = value.split(",") if isinstance(value, str) and len(value) < 200 else value
    if not isinstance(parts, list | tuple) or len(parts) != 3:
        raise ValueError
    distance = _DISTANCE.fullmatch(str(parts[2]).strip()) if _is_plain(parts[2]) else None
    if distance is None:
        raise ValueError
    radius = float(distance[1]) / (1000 if (distance[2] or "").lower() == "m" else 1)
    latitude, longitude = (_signed(part) for part in parts[:2])
    # NaN fails too.
    if not (abs(latitude) <= 90 and abs(longitude) <= 180 and 0 < radius <= HALF_ROUND_KM):
        raise ValueError
    return Near(latitude, longitude, radius)


def _is_plain(value: object) -> bool:
    return isinstance(value, int | float | str) and not isinstance(value, bool)


def _signed(value: object) -> float:
    if not _is_plain(value) or len(str(value)[:40]) == 40:
        raise ValueError
    assert isinstance(value, int | float | str)
    return float(value) + 0.0  # no minus zero


def colour(names: tuple[str, ...]) -> Callable[[object], str | Colour]:
    """Read one of some names, or "#336699", "#336699~15", "#336699~15@30%"."""

    def read(value: object) -> str | Colour:
        if isinstance(value, Colour):
            value = written(value)
        if not isinstance(value, str) or len(value) > 60:
            raise ValueError
        spelled = value.strip().lower()
        if spelled in names:
            return spelled
        parts = _COLOUR.fullmatch(spelled)
        if parts is None:
            raise ValueError
        tolerance = Colour.tolerance if parts[2] is None else float(parts[2])
        share = Colour.share if parts[3] is None else float(parts[3]) / (100 if parts[4] else 1)
        if not (1 <= tolerance <= 50 and 0 <= share <= 1):
            raise ValueError
        return Colour(f"#{parts[1]}", round(tolerance, 2), round(share, 4))

    return read


def image_id(value: object) -> uuid.UUID:
    if isinstance(value, uuid.UUID):
        return value
    if not isinstance(value, str) or len(value) > 50:
        raise ValueError
    return uuid.UUID(value.strip())


_member = text(500, clean=str)  # metadata are stored as they come


def scalar(value: object) -> str | int | float | Truth:
    """Return a value of JSON; what was written bare is a number or a truth where it can be."""
    match value:
        case Truth():
            return value
        case bool():
            return Truth.TRUE if value else Truth.FALSE
        case int() if abs(value) <= MAX_NUMBER:
            return value
        case float() if math.isfinite(value):
            return int(value) if value.is_integer() and abs(value) <= MAX_NUMBER else value
        case Bare():
            return _bare(str(value))
        case str():
            return _member(value)
    raise ValueError


def scalar_or_none(value: object) -> str | int | float | Truth | None:
    try:
        return scalar(value)
    except ValueError:
        return None


def _bare(written: str) -> str | int | float | Truth:
    if written in ("true", "false"):
        return Truth(written)
    # Not float() alone, which also takes "nan", "1_000" and Arabic figures.
    if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", written, re.ASCII | re.IGNORECASE):
        return scalar(float(written) if re.search(r"[.eE]", written) else int(written[:400]))
    return _member(written)


def written(value: object) -> str:
    """Return the text that reads as this value again; quotes are the language's business."""
    match value:
        case Truth():
            return str(value.value)
        case Period():
            return _written_period(value)
        case Near():
            return f"{value.latitude!r},{value.longitude!r},{value.kilometres!r}km"
        case Colour():
            return f"{value.hex}~{round(value.tolerance, 2):g}@{round(value.share, 4):g}"
        case float():
            return repr(value)
    return str(value)


def written_size(value: object) -> str:
    """Return bytes in the largest unit of ten that leaves a whole number."""
    assert isinstance(value, int)
    for unit in ("GB", "MB", "kB"):
        if value and value % _UNITS[unit.lower()] == 0:
            return f"{value // _UNITS[unit.lower()]}{unit}"
    return f"{value}B"


def _written_period(value: Period) -> str:
    first, last = value.first.isoformat(), value.last.isoformat()
    for shorter in (first[:4], first[:7], first):
        if _days(shorter) == value:
            return shorter
    return f"{first}..{last}"
