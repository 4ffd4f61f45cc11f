"""Facet counts: how many images have each value of a field, most first.

One grouped statement a field, over what a filter leaves or over the ids of a ranking. Only images
that the viewer may see are counted, so a name that hidden images alone bear does not appear.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from django.db.models import Case, CharField, Count, F, Min, TextField, Value, When
from django.db.models.functions import ExtractYear, TruncMonth, Upper

from gallery.errors import QueryInvalid
from gallery.models import Image, State, Visibility
from gallery.query.answers import Facet, FacetCount
from gallery.query.filters import Condition
from gallery.query.operators import Operator
from gallery.query.sql import Sql, holds

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

    from embeddings.vectors import Ids
    from gallery.models import ImageQuerySet

    Counts = Iterable[FacetCount]

MOST = 20  # values a field


def count(
    images: ImageQuerySet,
    field: str,
    viewer: AbstractBaseUser | AnonymousUser,
    *,
    ids: Ids | None = None,
) -> Facet:
    """Count the values of a field (one of FACETS) among images, the 20 most frequent.

    `ids` narrows them to these primary keys, (n,). Raise QueryInvalid for a field that is none, or
    that the viewer may not ask about. `condition` turns a value into the filter that finds as many
    images as were counted.
    """
    if field not in FACETS:
        raise QueryInvalid(f"There is no facet “{field[:60]}”; there are {', '.join(FACETS)}.")
    if field == "owner" and not viewer.is_authenticated:
        raise QueryInvalid("“owner” is for people who are logged in.")
    among = _plain(images).shown_to(viewer)
    if ids is not None:
        # As one text: a hundred thousand parameters would take longer than the count.
        listed = "{" + ",".join(map(str, ids.tolist())) + "}"
        among = among.filter(holds("{image}.id = ANY(%s::bigint[])", listed))
    return Facet(field, tuple(FACETS[field](among)))


def condition(field: str, value: str) -> Condition:
    """Return the condition on images that a value of a facet stands for."""
    if field not in FACETS:
        raise QueryInvalid(f"There is no facet “{field[:60]}”; there are {', '.join(FACETS)}.")
    return Condition("taken" if field in ("year", "month") else field, Operator.IS, value)


def _plain(images: ImageQuerySet) -> ImageQuerySet:
    """Return the same images without order or anything else that would come into the grouping."""
    query = images.query
    if query.is_sliced or query.distinct or query.annotations or query.combinator:
        images = Image.objects.filter(pk__in=images.values("pk"))
    return images.order_by().select_related(None).prefetch_related(None)


def _text(column: str) -> Callable[[ImageQuerySet], Counts]:
    """Count a text in any case of letters, as the filter compares it."""

    def counts(images: ImageQuerySet) -> Counts:
        rows = (
            images.exclude(**{column: ""})
            .filter(**{f"{column}__isnull": False})
            .values(key=Upper(column))
            .annotate(label=Min(column), n=Count("pk"))
            .order_by("-n", "label")
        )
        return [FacetCount(row["label"], row["label"], row["n"]) for row in rows[:MOST]]

    return counts


def _plain_value(
    expression: Any, *, labels: dict[str, str] | None = None, strip: str = ""
) -> Callable[[ImageQuerySet], Counts]:
    def counts(images: ImageQuerySet) -> Counts:
        rows = images.values(key=expression).annotate(n=Count("pk")).order_by("-n", "key")
        values = [(str(row["key"]).removeprefix(strip), row["n"]) for row in rows[:MOST]]
        return [FacetCount(value, (labels or {}).get(value, value), n) for value, n in values]

    return counts


def _moments(expression: Any, pattern: str) -> Callable[[ImageQuerySet], Counts]:
    """Count years or months, the newest first among equals."""

    def counts(images: ImageQuerySet) -> Counts:
        known = images.filter(taken_at__isnull=False)
        rows = known.values(key=expression).annotate(n=Count("pk")).order_by("-n", "-key")
        values = [(format(row["key"], pattern), row["n"]) for row in rows[:MOST]]
        return [FacetCount(value, value, n) for value, n in values]

    return counts


def _tags(images: ImageQuerySet) -> Counts:
    links = Image.tags.through.objects.filter(image__in=images.values("pk"))
    rows = links.values(key=F("tag__name")).annotate(n=Count("pk")).order_by("-n", "key")
    return [FacetCount(row["key"], row["key"], row["n"]) for row in rows[:MOST]]


ORIENTATION = Case(
    When(width__gt=F("height"), then=Value("landscape")),
    When(width__lt=F("height"), then=Value("portrait")),
    default=Value("square"),
    output_field=CharField(),
)
COLOUR_NAME = Sql("unnest({image}.colour_names)", output_field=TextField())

FACETS: dict[str, Callable[[ImageQuerySet], Counts]] = {
    "tag": _tags,
    "album": _text("album__name"),
    "category": _text("category"),
    "camera": _text("camera"),
    "format": _plain_value(F("mime_type"), strip="image/"),
    "orientation": _plain_value(ORIENTATION),
    "licence": _text("licence"),
    "year": _moments(ExtractYear("taken_at"), "04d"),
    "month": _moments(TruncMonth("taken_at"), "%Y-%m"),
    "colour": _plain_value(COLOUR_NAME),
    "owner": _plain_value(F("owner__username")),
    "visibility": _plain_value(F("visibility"), labels=dict(Visibility.choices)),
    "state": _plain_value(F("state"), labels=dict(State.choices)),
}
