"""Texts that come from outside with an image: cleaned where we can, refused where we must not."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import URLValidator

from gallery.errors import ImageRefused

MAX_FILE_NAME = 255
MAX_TAG = 100
MAX_TAGS = 50
MAX_METADATA_BYTES = 100_000

# Control, format (right-to-left marks among them) and surrogate characters, line and paragraph
# separators: they can hide or turn around what a person reads.
_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# Behind an even number of backslashes: one more, and it is the six characters themselves.
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
_is_http_url = URLValidator(schemes=["http", "https"])


def printable(text: str) -> str:
    """Return the text on one line, in NFC, without characters that are not seen."""
    kept = (character for character in text if unicodedata.category(character) not in _UNPRINTABLE)
    return " ".join(unicodedata.normalize("NFC", "".join(kept)).split())


def file_name(name: str) -> str:
    """Return the last part of a path as a name to show; never used to open anything."""
    base = printable(name.replace("\\", "/").rpartition("/")[2])
    if base in {".", ".."}:
        return ""
    if len(base) <= MAX_FILE_NAME:
        return base
    stem, dot, suffix = base.rpartition(".")
    if not dot or len(suffix) > 10:
        return base[:MAX_FILE_NAME]
    return stem[: MAX_FILE_NAME - len(suffix) - 1] + dot + suffix


def text(value: str, *, name: str, longest: int) -> str:
    """Return the text trimmed; raise ImageRefused where it is too long or not a text."""
    trimmed = value.strip()
    if len(trimmed) > longest:
        raise ImageRefused(f"The {name} has {len(trimmed):,} characters; {longest:,} are allowed.")
    if any(_is_unstorable(character) for character in trimmed):
        raise ImageRefused(f"The {name} holds control characters.")
    return trimmed


def line(value: str, *, name: str, longest: int) -> str:
    """Return the text on one line, without characters that are not seen; refuse it as `text`."""
    return printable(text(value, name=name, longest=longest))


def tags(names: Iterable[str]) -> tuple[str, ...]:
    """Return tag names in lower case, each once, sorted; empty ones fall away."""
    # Lower case may be longer ("İ"), so the length is asked for last.
    lower = (line(name, name="tag", longest=MAX_TAG).lower() for name in names)
    unique = {text(name, name="tag", longest=MAX_TAG) for name in lower} - {""}
    if len(unique) > MAX_TAGS:
        raise ImageRefused(f"An image has at most {MAX_TAGS} tags; these are {len(unique):,}.")
    return tuple(sorted(unique))


def metadata(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata as Postgres will hold it; raise ImageRefused where it cannot."""
    if not isinstance(value, Mapping):
        raise ImageRefused("The metadata must be a JSON object.")
    try:
        encoded = json.dumps(dict(value), allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        # Dates, NaN, circles, lone surrogates, numbers of thousands of digits.
        raise ImageRefused("The metadata cannot be written as JSON.") from error
    if len(encoded) > MAX_METADATA_BYTES:
        raise ImageRefused(
            f"The metadata has {len(encoded):,} bytes; {MAX_METADATA_BYTES:,} are allowed."
        )
    if holds_nul(encoded.decode()):
        raise ImageRefused("The metadata holds a NUL character.")
    decoded: dict[str, Any] = json.loads(encoded)
    return decoded


def holds_nul(encoded: str) -> bool:
    """Whether a text of the JSON holds NUL, which Postgres does not take."""
    return _NUL.search(encoded) is not None


def http_url(value: str, *, longest: int) -> str:
    """Return the address; anything but http(s), such as `javascript:`, is refused."""
    url = text(value, name="source URL", longest=longest)
    if url:
        try:
            _is_http_url(url)
        except ValidationError as error:
            raise ImageRefused("The source URL is not an http or https address.") from error
    return url


def _is_unstorable(character: str) -> bool:
    return unicodedata.category(character) in {"Cc", "Cs"} and character not in "\n\r\t"
