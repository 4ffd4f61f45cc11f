"""What a condition means in SQL.

Each maker of lookups takes the names of columns, which the registry of fields gives, and returns a
function from operator, value and viewer to a `Q`. Values only ever become parameters. None of
these joins a row to several others, so no image comes out twice; and none is ever NULL, so NOT
gives exactly the images that were left out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import TYPE_CHECKING, Any

from django.db import connection
from django.db.models import BigIntegerField, F, Q, Value
from django.db.models.expressions import Combinable
from django.db.models.functions import (
    ASin,
    Cast,
    Cos,
    Least,
    Power,
    Radians,
    Sin,
    Sqrt,
)
from django.db.models.lookups import (
    Exact,
    GreaterThan,
    GreaterThanOrEqual,
    LessThan,
    LessThanOrEqual,
)
from django.utils import timezone

from gallery.query.operators import Operator
from gallery.query.sql import holds
from gallery.query.values import Near, Period, Truth

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

    Viewer = AbstractBaseUser | AnonymousUser | None
    Lookup = Callable[[Operator, Any, Viewer], Q]

EARTH_RADIUS_KM = 6371.0088

_SUFFIXES = {
    Operator.LESS: "lt",
    Operator.AT_MOST: "lte",
    Operator.MORE: "gt",
    Operator.AT_LEAST: "gte",
}
_COMPARISONS = {
    Operator.LESS: LessThan,
    Operator.AT_MOST: LessThanOrEqual,
    Operator.MORE: GreaterThan,
    Operator.AT_LEAST: GreaterThanOrEqual,
}


def one_by_one(lookup: Lookup) -> Lookup:
    """Answer `in` by comparing with one value after another."""

    def any_of(operator: Operator, value: Any, viewer: Viewer) -> Q:
        if operator != Operator.IN:
            return lookup(operator, value, viewer)
        each = (lookup(Operator.IS, one, viewer) for one in value)
        return Q(*each, _connector=Q.OR)

    return any_of


def text(column: str) -> Lookup:
    """Compare a text column that is never NULL, in any case of letters."""

    def lookup(operator: Operator, value: Any, viewer: Viewer) -> Q:
        if operator == Operator.EXISTS:
            return ~Q(**{column: ""})
        ending = "icontains" if operator == Operator.CONTAINS else "iexact"
        return Q(**{f"{column}__{ending}": value})

    return lookup


def choice(column: str) -> Lookup:
    """Compare a column with one word, or several."""

    def lookup(operator: Operator, value: Any, viewer: Viewer) -> Q:
        return Q(**{f"{column}__in" if operator == Operator.IN else column: value})

    return lookup


def image_format(operator: Operator, value: Any, viewer: Viewer) -> Q:
    formats = value if operator == Operator.IN else (value,)
    return Q(mime_type__in=[f"image/{one}" for one in formats])


def number(column: str) -> Lookup:
    def lookup(operator: Operator, value: Any, viewer: Viewer) -> Q:
        if operator == Operator.IS:
            return Q(**{column: value})
        return Q(**{f"{column}__{_SUFFIXES[operator]}": value})

    return lookup


def moment(column: str) -> Lookup:
    """Compare a time with days. "after 2024" begins when 2024 has ended."""

    def lookup(operator: Operator, value: Any, viewer: Viewer) -> Q:
        if operator == Operator.EXISTS:
            return Q(**{f"{column}__isnull": False})
        assert isinstance(value, Period)
        from_ = Q(**{f"{column}__gte": _start_of(value.first)})
        until = Q(**{f"{column}__lt": _end_of(value.last)})
        match operator:
            case Operator.LESS:
                return Q(**{f"{column}__lt": _start_of(value.first)})
            case Operator.AT_MOST:
                return until
            case Operator.MORE:
                return Q(**{f"{column}__gte": _end_of(value.last)})
            case Operator.AT_LEAST:
                return from_
        return from_ & until

    return lookup


def _start_of(day: date) -> datetime:
    # Plain times, not `taken_at::date`, so that the index serves. Whoever writes year 1 or 9999
    # means "no limit", and other time zones have no such times.
    day = min(max(day, date(2, 1, 1)), date(9998, 12, 31))
    return timezone.make_aware(datetime.combine(day, time.min))


def _end_of(day: date) -> datetime:
    return _start_of(day + timedelta(days=1)) if day < date.max else _start_of(day)


# EXISTS and not IN: beside an OR, Postgres compares a long IN row by row. As SQL, because Django
# takes ten times as long to write the same.
_TAGGED = "EXISTS (SELECT FROM gallery_image_tags link WHERE link.image_id = {image}.id)"
_TAGGED_WITH = (
    "EXISTS (SELECT FROM gallery_image_tags link JOIN gallery_tag tag ON tag.id = link.tag_id"
    " WHERE link.image_id = {image}.id AND tag.name = %s)"
)
_TAGGED_WITH_ANY = _TAGGED_WITH.replace("= %s", "= ANY(%s)")
_IN_ALBUM = (
    "EXISTS (SELECT FROM gallery_album album"
    " WHERE album.id = {image}.album_id AND upper(album.name) = upper(%s))"
)
# An image's own caption is a row among the further ones: see models.Caption.
_CAPTIONED = "EXISTS (SELECT FROM gallery_caption said WHERE said.image_id = {image}.id)"
_CAPTIONED_WITH = (
    "EXISTS (SELECT FROM gallery_caption said"
    " WHERE said.image_id = {image}.id AND upper(said.text) LIKE upper(%s))"
)
# What was found at another URL than the image has by now says nothing of it.
_LINKED = (
    "EXISTS (SELECT FROM gallery_sourcelink link WHERE link.image_id = {image}.id"
    " AND link.url = {image}.source_url AND link.state = %s)"
)


def tagged(operator: Operator, value: Any, viewer: Viewer) -> Q:
    if operator == Operator.EXISTS:
        return holds(_TAGGED)
    if operator == Operator.IN:
        return holds(_TAGGED_WITH_ANY, list(value))
    return holds(_TAGGED_WITH, value)


def in_album(operator: Operator, value: Any, viewer: Viewer) -> Q:
    if operator == Operator.EXISTS:
        return Q(album__isnull=False)
    return holds(_IN_ALBUM, value)


def captioned(operator: Operator, value: Any, viewer: Viewer) -> Q:
    if operator == Operator.EXISTS:
        return holds(_CAPTIONED)
    return holds(_CAPTIONED_WITH, f"%{connection.ops.prep_for_like_query(value)}%")


def framed(operator: Operator, value: Any, viewer: Viewer) -> Q:
    """Keep frames of a video; EXISTS: of any."""
    if operator == Operator.EXISTS:
        return Q(video__isnull=False)
    # Not NULL for images that are no frames, so that NOT finds them.
    wanted = value if operator == Operator.IN else (value,)
    return Q(video__isnull=False, video__in=wanted)


def linked(operator: Operator, value: Any, viewer: Viewer) -> Q:
    return holds(_LINKED, value)


# The bigint is not for size alone: 65,535 x 65,535 does not fit an integer.
PIXELS = Cast("width", BigIntegerField()) * F("height")


def megapixels(operator: Operator, value: Any, viewer: Viewer) -> Q:
    # Compared as whole pixels, which is what the index holds.
    pixels = Decimal(str(value)) * 1_000_000
    up = operator in (Operator.LESS, Operator.AT_LEAST)
    bound = int(pixels.to_integral_value(ROUND_CEILING if up else ROUND_FLOOR))
    return Q(_COMPARISONS[operator](PIXELS, bound))


def oriented(operator: Operator, value: Any, viewer: Viewer) -> Q:
    kind = {"landscape": GreaterThan, "portrait": LessThan, "square": Exact}[value]
    return Q(kind(F("width"), F("height")))


def near(operator: Operator, value: Any, viewer: Viewer) -> Q:
    """Great-circle distance by the haversine, behind a box that an index serves.

    Where images were taken is told to their owners alone, so only these are found by it.
    """
    assert isinstance(value, Near)
    assert viewer is not None  # the field needs a login
    within = _box(value) & Q(LessThanOrEqual(_kilometres(value), value.kilometres))
    return within if getattr(viewer, "is_superuser", False) else within & Q(owner=viewer.pk)


def _box(circle: Near) -> Q:
    angle = circle.kilometres / EARTH_RADIUS_KM
    # A hair wider, so that rounding never cuts off what lies on the circle.
    height = math.degrees(angle) + 1e-9
    south, north = circle.latitude - height, circle.latitude + height
    box = Q(latitude__gte=south, latitude__lte=north)
    if south <= -90 or north >= 90:
        return box & Q(longitude__isnull=False)  # a pole is inside: every longitude
    width = (
        math.degrees(math.asin(math.sin(angle) / math.cos(math.radians(circle.latitude)))) + 1e-9
    )
    west, east = circle.longitude - width, circle.longitude + width
    if west < -180:
        return box & (Q(longitude__gte=west + 360) | Q(longitude__lte=east))
    if east > 180:
        return box & (Q(longitude__gte=west) | Q(longitude__lte=east - 360))
    return box & Q(longitude__gte=west, longitude__lte=east)


def _kilometres(circle: Near) -> Combinable:
    half_north = Sin(Radians(F("latitude") - circle.latitude) / 2.0)
    half_east = Sin(Radians(F("longitude") - circle.longitude) / 2.0)
    shrink = Cos(Radians(F("latitude"))) * math.cos(math.radians(circle.latitude))
    chord = Power(half_north, 2) + shrink * Power(half_east, 2)
    return ASin(Sqrt(Least(Value(1.0), chord))) * (2 * EARTH_RADIUS_KM)


def metadata(keys: tuple[str, ...]) -> Lookup:
    """Compare the values under a path of keys; of a list, any of its members.

    The language of paths compares numbers with numbers only, and what is something else is unlike
    rather than an error. A number is also found where it is written as a text.
    """
    path = "$" + "".join(f".{json.dumps(key)}" for key in keys)

    def lookup(operator: Operator, value: Any, viewer: Viewer) -> Q:
        test = "" if operator == Operator.EXISTS else f" ? ({_test(operator, value)})"
        # The operator, and not jsonb_path_exists: that is what the index serves.
        return holds("{image}.metadata @? %s::jsonpath", path + test)

    return lookup


def _test(operator: Operator, value: str | int | float | Truth) -> str:
    if operator == Operator.CONTAINS:
        return f'@ like_regex {json.dumps(str(value))} flag "iq"'
    sign = "==" if operator == Operator.IS else str(operator)
    if isinstance(value, Truth):
        return f"@ == {value.value}"
    if isinstance(value, str):
        return f"@ {sign} {json.dumps(value)}"
    if operator == Operator.IS:
        # Both are plain comparisons, which the index can answer.
        return f"@ == {_literal(value)} || @ == {json.dumps(_literal(value))}"
    as_text = f'@.type() == "string" && @.double() {sign} {_literal(value)}'
    return f"@ {sign} {_literal(value)} || ({as_text})"


def _literal(number: int | float) -> str:
    return str(number) if isinstance(number, int) else repr(number)
