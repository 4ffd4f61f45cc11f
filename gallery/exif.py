"""What the camera wrote into a file: when, with what, where. Anything odd counts as not written."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Any

from django.utils import timezone as django_timezone
from PIL.ExifTags import GPS, IFD, Base
from PIL.Image import Image as Pixels

from gallery import moments, texts

# What Pillow's EXIF reader lets through on hostile bytes.
_BROKEN = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    OSError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
)

_MAX_CAMERA = 200
_UPRIGHT = 1


@dataclass(frozen=True, kw_only=True)
class Exif:
    """The part of EXIF we keep."""

    orientation: int = _UPRIGHT  # 1 to 8, as EXIF counts them
    taken_at: datetime | None = None
    camera: str = ""
    latitude: float | None = None  # degrees, north positive
    longitude: float | None = None  # degrees, east positive


def read(image: Pixels) -> Exif:
    """Read the EXIF of an image that Pillow has opened and loaded; never raises for its content."""
    main, photo, gps = _directories(image)
    latitude, longitude = _position(gps)
    return Exif(
        orientation=_orientation(main),
        taken_at=_taken_at(photo),
        camera=_camera(main),
        latitude=latitude,
        longitude=longitude,
    )


def _directories(image: Pixels) -> tuple[Mapping[int, Any], Mapping[int, Any], Mapping[int, Any]]:
    main: Mapping[int, Any] = {}
    photo: Mapping[int, Any] = {}
    gps: Mapping[int, Any] = {}
    try:
        exif = image.getexif()
        # Tags are parsed when they are asked for, so all are asked for here.
        main = {tag: exif.get(tag) for tag in (Base.Orientation, Base.Make, Base.Model)}
        photo = exif.get_ifd(IFD.Exif)
        gps = exif.get_ifd(IFD.GPSInfo)
    except _BROKEN:
        pass  # what was readable until here still counts
    return main, photo, gps


def _orientation(main: Mapping[int, Any]) -> int:
    written = main.get(Base.Orientation)
    return written if isinstance(written, int) and 1 <= written <= 8 else _UPRIGHT


def _taken_at(photo: Mapping[int, Any]) -> datetime | None:
    for moment, offset in (
        (Base.DateTimeOriginal, Base.OffsetTimeOriginal),
        (Base.DateTimeDigitized, Base.OffsetTimeDigitized),
    ):
        written = _string(photo.get(moment))
        try:
            naive = datetime.strptime(written[:19], "%Y:%m:%d %H:%M:%S")
        except ValueError:
            continue
        if moments.is_of_photograph(naive):
            return naive.replace(tzinfo=_offset(_string(photo.get(offset))))
    return None


def _offset(written: str) -> tzinfo:
    """Return the zone of "+02:00"; cameras that say nothing are taken to run on our time."""
    try:
        moment = datetime.strptime(written, "%z")
    except ValueError:
        return django_timezone.get_default_timezone()
    return timezone(moment.utcoffset() or timedelta(0))


def _camera(main: Mapping[int, Any]) -> str:
    make, model = _string(main.get(Base.Make)), _string(main.get(Base.Model))
    # "NIKON CORPORATION" + "NIKON D90": most makers repeat their name in the model's.
    if make and model.lower().startswith(make.split()[0].lower()):
        make = ""
    return f"{make} {model}".strip()[:_MAX_CAMERA].strip()


def _position(gps: Mapping[int, Any]) -> tuple[float | None, float | None]:
    latitude = _degrees(gps.get(GPS.GPSLatitude), _string(gps.get(GPS.GPSLatitudeRef)), most=90)
    longitude = _degrees(gps.get(GPS.GPSLongitude), _string(gps.get(GPS.GPSLongitudeRef)), most=180)
    # One half of a position is none, and 0, 0 is what cameras write before they know.
    if latitude is None or longitude is None or latitude == longitude == 0:
        return None, None
    return latitude, longitude


def _degrees(parts: Any, reference: str, *, most: float) -> float | None:
    try:
        degrees, minutes, seconds = (float(part) for part in parts)
    except (TypeError, ValueError, ArithmeticError):
        return None
    if not (degrees >= 0 and 0 <= minutes < 60.5 and 0 <= seconds < 60.5):  # NaN fails too
        return None
    value = degrees + minutes / 60 + seconds / 3600
    if not math.isfinite(value) or value > most:
        return None
    return -value if reference[:1].upper() in {"S", "W"} else value


def _string(value: Any) -> str:
    if isinstance(value, bytes):
        value = value.decode("ascii", errors="ignore")
    return texts.printable(value.partition("\x00")[0]) if isinstance(value, str) else ""
