"""What is written in settings that are neither numbers nor choices, and how others spell it.

Each kind of value checks itself: what is wrong raises ValueError, with what it must be instead.
"""

from __future__ import annotations

import re
import zoneinfo
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import dj_database_url
from pydantic import AfterValidator, BeforeValidator
from pydantic_settings import NoDecode

from gallery.storage import addresses

BASE_DIR = Path(__file__).resolve().parent.parent

_POSTGRES = ("postgresql://", "postgres://")
_REDIS = ("redis://", "rediss://", "unix://")


def _parts(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _ports(value: tuple[str, ...]) -> tuple[str, ...]:
    port_ranges(value)
    return value


def _full_paths(value: tuple[str, ...]) -> tuple[str, ...]:
    for path in value:
        if not Path(path).is_absolute():
            raise ValueError(f"“{path}” is no full path of a folder")
    return value


def _endpoints(value: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(addresses.endpoint(one) for one in value)  # raises ValueError


def _absolute(value: Path) -> Path:
    return (BASE_DIR / value.expanduser()).resolve()


def _known_zone(value: str) -> str:
    if value not in zoneinfo.available_timezones():
        raise ValueError("no such time zone")
    return value


def _database(value: str) -> str:
    _check_scheme(value, _POSTGRES)
    if value:
        dj_database_url.parse(value)  # raises ValueError, for a port that is none
    return value


def _redis(value: str) -> str:
    _check_scheme(value, _REDIS)
    return value


def _check_scheme(value: str, schemes: tuple[str, ...]) -> None:
    if value and not value.startswith(schemes):
        raise ValueError(f"it must begin with {' or '.join(schemes)}")


def _storage(value: str) -> str:
    addresses.parse(value, default=Path())  # raises ValueError
    return value


def _cdn(value: str) -> str:
    # It becomes part of the Content-Security-Policy: no word more than a host and a path.
    if value and not re.fullmatch(r"https?://[\w.-]+(:[0-9]{1,5})?(/[\w.~/%-]*)?", value, re.ASCII):
        raise ValueError("it must be an address such as https://cdn.example.org")
    return value.rstrip("/")


CommaSeparated = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_parts)]
Ports = Annotated[CommaSeparated, AfterValidator(_ports)]
Folders = Annotated[CommaSeparated, AfterValidator(_full_paths)]
Endpoints = Annotated[CommaSeparated, AfterValidator(_endpoints)]
DataFolder = Annotated[Path, AfterValidator(_absolute)]
TimeZone = Annotated[str, AfterValidator(_known_zone)]
DatabaseURL = Annotated[str, AfterValidator(_database)]
RedisURL = Annotated[str, AfterValidator(_redis)]
StorageURL = Annotated[str, AfterValidator(_storage)]
CDNAddress = Annotated[str, AfterValidator(_cdn)]


def port_ranges(ports: tuple[str, ...]) -> tuple[range, ...]:
    """Return DOWNLOAD_PORTS as numbers. Raise ValueError where they are none."""
    ranges = []
    for written in ports:
        if not (numbers := re.fullmatch(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", written)):
            raise ValueError("it must be ports such as 80,443,8000-8999")
        first, last = int(numbers[1]), int(numbers[2] or numbers[1])
        if not 1 <= first <= last <= 65_535:
            raise ValueError("ports are 1 to 65535, the lower one first")
        ranges.append(range(first, last + 1))
    return tuple(ranges)


def origin(url: str) -> str:
    """Return scheme and host of an address, as a Content-Security-Policy names them."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def celery_broker_url(redis_url: str) -> str:
    """Return REDIS_URL as kombu spells it: a unix socket is `redis+socket://` there."""
    if not redis_url.startswith("unix://"):
        return redis_url
    path, _, options = redis_url.removeprefix("unix://").partition("?")
    broker_options = f"?{options.replace('db=', 'virtual_host=')}" if options else ""
    return f"redis+socket://{path}{broker_options}"
