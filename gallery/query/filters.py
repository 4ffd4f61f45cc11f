"""Filters: conditions on the record, combined with AND, OR and NOT to any sensible depth.

A filter is a tree of immutable values. It is compiled to one queryset; nothing a person writes
ever becomes a field name or SQL.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import assert_never

from django.db.models import Q

from gallery.errors import QueryInvalid
from gallery.models import Image, ImageQuerySet, Visibility

MAX_TAGS = 10


class Operator(StrEnum):
    IS = "="
    IS_NOT = "!="
    LESS = "<"
    AT_MOST = "<="
    MORE = ">"
    AT_LEAST = ">="
    IN = "in"
    EXISTS = "exists"
    CONTAINS = "~"


@dataclass(frozen=True)
class Condition:
    """One field compared with one value, such as taken >= 2024-01-01."""

    field: str
    operator: Operator
    value: object


@dataclass(frozen=True)
class And:
    """All parts hold; without parts everything passes."""

    parts: tuple[Filter, ...] = ()


@dataclass(frozen=True)
class Or:
    """At least one part holds."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True)
class Not:
    part: Filter


Filter = Condition | And | Or | Not

EVERYTHING = And()


def conditions(
    *,
    tags: tuple[str, ...] = (),
    album: str = "",
    taken_after: date | None = None,
    taken_before: date | None = None,
    visibility: str = "",
) -> Filter:
    """Return the filter of the plain parameters that the faces have, all of which must hold."""
    if len(tags) > MAX_TAGS:
        raise QueryInvalid(f"A search asks for at most {MAX_TAGS} tags.")
    if taken_after and taken_before and taken_after > taken_before:
        raise QueryInvalid("taken_after must not be later than taken_before.")
    if visibility and visibility not in Visibility.values:
        raise QueryInvalid("visibility must be public or private.")
    parts = [Condition("tag", Operator.IS, tag) for tag in tags]
    if album:
        parts.append(Condition("album", Operator.IS, album))
    if taken_after:
        parts.append(Condition("taken", Operator.AT_LEAST, taken_after))
    if taken_before:
        parts.append(Condition("taken", Operator.AT_MOST, taken_before))
    if visibility:
        parts.append(Condition("visibility", Operator.IS, visibility))
    return And(tuple(parts))


def apply(filter_: Filter, images: ImageQuerySet) -> ImageQuerySet:
    """Keep the images that pass. Raise QueryInvalid, naming the field, where one is wrong."""
    return images.filter(_as_q(filter_))


def _as_q(filter_: Filter) -> Q:
    match filter_:
        case And(parts):
            return Q(*map(_as_q, parts))
        case Or(parts):
            return Q(*map(_as_q, parts), _connector=Q.OR)
        case Not(part):
            return ~_as_q(part)
        case Condition():
            return _condition(filter_)
    assert_never(filter_)


def _condition(condition: Condition) -> Q:
    match condition:
        case Condition("tag", Operator.IS, str(name)):
            tagged = Image.tags.through.objects.filter(tag__name=name.strip().lower())
            return Q(pk__in=tagged.values("image_id"))
        case Condition("album", Operator.IS, str(name)):
            return Q(album__name=name)
        case Condition("taken", Operator.AT_LEAST, date() as day):
            return Q(taken_at__date__gte=day)
        case Condition("taken", Operator.AT_MOST, date() as day):
            return Q(taken_at__date__lte=day)
        case Condition("visibility", Operator.IS, str(name)):
            return Q(visibility=name)
    raise QueryInvalid(f"There is no filter {condition.field} {condition.operator}.")
