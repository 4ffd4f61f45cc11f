"""What the metadata of a video say of time, place and camera."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from gallery import texts

_PLACE = re.compile(r"([+-]\d{1,2}(?:\.\d+)?)([+-]\d{1,3}(?:\.\d+)?)")
_WHEN = ("com.apple.quicktime.creationdate", "creation_time")
_WHERE = ("com.apple.quicktime.location.ISO6709", "location")
_CAMERA = ("com.apple.quicktime.make", "com.apple.quicktime.model")
_YEARS = range(1990, 2200)  # cameras without a clock write 1904 or 1970


def of_metadata(written: dict[str, str]) -> dict[str, Any]:
    """Return what is known of time, place and camera; anything odd counts as not written."""
    moments = [_moment(written.get(name, "")) for name in _WHEN]
    places = [_PLACE.match(written.get(name, "")) for name in _WHERE]
    place = next(filter(None, places), None)
    latitude, longitude = (float(place[1]), float(place[2])) if place else (None, None)
    if latitude is None or longitude is None or abs(latitude) > 90 or abs(longitude) > 180:
        latitude = longitude = None
    camera = " ".join(written.get(name, "") for name in _CAMERA)
    return {
        "taken_at": next(filter(None, moments), None),
        "latitude": latitude,
        "longitude": longitude,
        "camera": texts.printable(camera)[:200].strip(),
    }


def _moment(written: str) -> str | None:
    try:
        moment = datetime.fromisoformat(written)
    except ValueError:
        return None
    return moment.isoformat() if moment.tzinfo and moment.year in _YEARS else None
