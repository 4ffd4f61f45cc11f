"""The Range header: which part of a file a player asks for.

RFC 9110, section 14. One part at a time: who asks for several gets the whole file, as it allows.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from django.http import HttpRequest

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


class Range(NamedTuple):
    first: int
    last: int  # included


class RangeUnsatisfiable(Exception):
    """The part that is asked for lies behind the end of the file."""


def wanted_range(request: HttpRequest, *, size: int, etag: str) -> Range | None:
    """Return the part that is asked for; None: the whole file. Raise RangeUnsatisfiable."""
    found = _RANGE.fullmatch(request.headers.get("Range", "").strip())
    if request.method != "GET" or found is None or not any(found.groups()):
        return None
    # A part of another version would not fit what the player has.
    if request.headers.get("If-Range", etag).strip() != etag:
        return None
    first, last = found.groups()
    if not first:
        length = min(int(last), size)
        wanted = Range(size - length, size - 1)
    else:
        wanted = Range(int(first), min(int(last), size - 1) if last else size - 1)
    if first and last and int(first) > int(last):
        return None  # no range at all, which is to be passed over
    if wanted.first >= size or wanted.last < wanted.first:
        raise RangeUnsatisfiable
    return wanted
