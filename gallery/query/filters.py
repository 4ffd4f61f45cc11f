"""Filters: conditions on the record, combined with AND, OR and NOT to any sensible depth.

A filter is a tree of immutable values. It is compiled to one queryset; nothing a person writes
ever becomes a field name or SQL. A tree that is too deep or too large cannot be made, so nothing
that walks one can run out of stack.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, assert_never

from django.db.models import Q

from gallery.errors import QueryInvalid
from gallery.models import ImageQuerySet, Visibility
from gallery.query.fields import field_of
from gallery.query.operators import Operator

if TYPE_CHECKING:
    from gallery.query.lookups import Viewer

__all__ = [
    "EVERYTHING",
    "MAX_CONDITIONS",
    "MAX_CONTAINS",
    "MAX_DEPTH",
    "And",
    "Condition",
    "Filter",
    "Not",
    "Operator",
    "Or",
    "all_of",
    "any_of",
    "apply",
    "conditions",
    "simplified",
]

MAX_TAGS = 10
MAX_DEPTH = 20
MAX_CONDITIONS = 200
MAX_CONTAINS = 10  # no index serves "contains": each reads every image


@dataclass(frozen=True)
class Condition:
    """One field compared with one value, such as taken >= 2024-01-01.

    The field is one of `fields.FIELDS`, or "meta." with a path of keys. The value is read by it:
    "2024" becomes the days of that year. Raise QueryInvalid, naming the field, for what is wrong.
    """

    field: str
    operator: Operator
    value: object = True

    @property
    def depth(self) -> int:
        return 0

    @property
    def size(self) -> int:
        return len(self.value) if isinstance(self.value, tuple) else 1

    @property
    def contains(self) -> int:
        return int(self.operator == Operator.CONTAINS)

    def __post_init__(self) -> None:
        known = field_of(self.field)
        object.__setattr__(self, "field", known.name)
        object.__setattr__(self, "value", known.value(self.operator, self.value))


@dataclass(frozen=True)
class And:
    """All parts hold; without parts everything passes."""

    parts: tuple[Filter, ...] = ()
    depth: int = field(init=False, compare=False, repr=False)
    size: int = field(init=False, compare=False, repr=False)
    contains: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        _measure(self, self.parts)


@dataclass(frozen=True)
class Or:
    """At least one part holds. There must be one."""

    parts: tuple[Filter, ...]
    depth: int = field(init=False, compare=False, repr=False)
    size: int = field(init=False, compare=False, repr=False)
    contains: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not self.parts:
            raise QueryInvalid("OR needs a condition: of none, none can hold.")
        _measure(self, self.parts)


@dataclass(frozen=True)
class Not:
    """The part does not hold: exactly the images that it leaves out."""

    part: Filter
    depth: int = field(init=False, compare=False, repr=False)
    size: int = field(init=False, compare=False, repr=False)
    contains: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        _measure(self, (self.part,))


Filter = Condition | And | Or | Not


def _measure(node: And | Or | Not, parts: tuple[Filter, ...]) -> None:
    depth = 1 + max((part.depth for part in parts), default=0)
    size = sum(part.size for part in parts)
    contains = sum(part.contains for part in parts)
    if depth > MAX_DEPTH:
        raise QueryInvalid(f"A filter is nested at most {MAX_DEPTH} levels deep.")
    if size > MAX_CONDITIONS:
        raise QueryInvalid(
            f"A filter has at most {MAX_CONDITIONS} conditions; each value of a list counts."
        )
    if contains > MAX_CONTAINS:
        raise QueryInvalid(f"A filter has at most {MAX_CONTAINS} conditions with ~ (contains).")
    object.__setattr__(node, "depth", depth)
    object.__setattr__(node, "size", size)
    object.__setattr__(node, "contains", contains)


EVERYTHING = And()


def all_of(parts: Iterable[Filter]) -> Filter:
    """Return the filter that all parts must pass; the parts of an And among them are its own."""
    flat = [one for part in parts for one in (part.parts if isinstance(part, And) else (part,))]
    return flat[0] if len(flat) == 1 else And(tuple(flat))


def any_of(parts: Iterable[Filter]) -> Filter:
    """Return the filter that one of the parts must pass."""
    given = tuple(parts)
    return given[0] if len(given) == 1 else Or(given)


def simplified(filter_: Filter) -> Filter:
    """Return the same filter without an And or Or of a single part, as the language writes it."""
    match filter_:
        case And((part,)) | Or((part,)):
            return simplified(part)
        case And(parts):
            return And(tuple(map(simplified, parts)))
        case Or(parts):
            return Or(tuple(map(simplified, parts)))
        case Not(part):
            return Not(simplified(part))
    return filter_


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
    return all_of(parts)


def apply(filter_: Filter, images: ImageQuerySet, viewer: Viewer = None) -> ImageQuerySet:
    """Keep the images that pass; none comes out twice, and the rest of the queryset stays.

    Some fields tell what not everybody may know: `owner` needs a viewer who is logged in, `near`
    finds only the viewer's own images, or all for a superuser. Raise QueryInvalid where the
    viewer may not ask. What the viewer may see is not decided here: pass visible images.
    """
    return images if filter_ == EVERYTHING else images.filter(_as_q(filter_, viewer))


def _as_q(filter_: Filter, viewer: Viewer) -> Q:
    match filter_:
        case And(parts) if not parts:
            return ~Q(pk__in=())  # Django drops an empty Q, and reads NOT of nothing as nothing
        case And(parts):
            return Q(*(_as_q(part, viewer) for part in parts))
        case Or(parts):
            return Q(*(_as_q(part, viewer) for part in parts), _connector=Q.OR)
        case Not(part):
            return ~_as_q(part, viewer)
        case Condition():
            return field_of(filter_.field).q(filter_.operator, filter_.value, viewer)
    assert_never(filter_)
