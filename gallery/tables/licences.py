"""Short names of licences, the same from every source, so that a filter finds them."""

from __future__ import annotations

import re

_CREATIVE_COMMONS = re.compile(
    r"https?://(?:www\.)?creativecommons\.org/licenses/(by(?:-nc)?(?:-sa|-nd)?)/([1-4]\.[0-9])(?:/.*)?",
    re.IGNORECASE,
)
_PUBLIC_DOMAIN = re.compile(
    r"https?://(?:www\.)?creativecommons\.org/publicdomain/(zero|mark)/([0-9]\.[0-9])(?:/.*)?",
    re.IGNORECASE,
)
_DOMAIN_NAMES = {"zero": "CC0", "mark": "Public Domain Mark"}


def named(licence: str) -> str:
    """Return the licence's name for its address at Creative Commons, else what was given."""
    licence = licence.strip()
    if found := _CREATIVE_COMMONS.fullmatch(licence):
        return f"CC {found[1].upper()} {found[2]}"
    if found := _PUBLIC_DOMAIN.fullmatch(licence):
        return f"{_DOMAIN_NAMES[found[1].lower()]} {found[2]}"
    return licence
