"""Addresses as lists of images have them. Whether one may be asked is for `downloads` to say."""

from __future__ import annotations

import os.path
from collections.abc import Mapping
from typing import Annotated
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from pydantic import AfterValidator

from gallery import texts
from gallery.descriptions import Description
from gallery.errors import ImageRefused
from gallery.importers import Item, Skipped

MAX_ADDRESS = 8000


def is_url(place: str) -> bool:
    """Say whether it is an address of the web, and not a path."""
    return place.lower().startswith(("http://", "https://"))


def _absolute(place: str) -> str:
    if not place or is_url(place):
        return place
    return os.path.abspath(place)  # noqa: PTH100 - `Path.absolute` keeps ".."


# An address, or a path: a run may be gone on with by a process that stands elsewhere.
AbsolutePlace = Annotated[str, AfterValidator(_absolute)]


def is_source_url(text: str) -> bool:
    """Say whether the text is an address that an image's record takes as its source."""
    try:
        return bool(texts.http_url(text, longest=2000))
    except ImageRefused:
        return False


def file_name(url: str) -> str:
    """Return the last part of an address as a name to show."""
    try:
        return texts.file_name(unquote(urlsplit(url).path))
    except ValueError:  # brackets that hold no IPv6 address
        return ""


def suffix(place: str) -> str:
    """Return the suffix of a path or an address, in lower case, with its dot."""
    _, dot, after = (file_name(place) if is_url(place) else place).rpartition(".")
    return f".{after.lower()}" if dot else ""


def with_query(url: str, more: Mapping[str, str]) -> str:
    """Return the address with more in its query; one that is malformed stays as it is."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    return urlunsplit(parts._replace(query=urlencode([*parse_qsl(parts.query), *more.items()])))


def item_at(url: str, *, where: str, about: Description) -> Item | Skipped:
    """Return the image at an address, which is also its source if nothing else is said.

    `where` the list has it ("row 7") is the key of what is no address.
    """
    if not is_url(url) or len(url) > MAX_ADDRESS:
        said = f"“{texts.printable(url)[:100]}” is no http or https address" if url else "is empty"
        return Skipped(key=where, reason=f"{where.capitalize()}: the address {said}.")
    source = Description(source_url=url if is_source_url(url) else "")
    return Item(key=url, name=file_name(url), url=url, about=about.over(source))
