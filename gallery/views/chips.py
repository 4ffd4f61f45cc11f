"""What is in force beside the words of a search, each to be taken away by a link."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from django.urls import reverse

from gallery.query import EVERYTHING, And, Filter
from gallery.query.filters import all_of
from gallery.views import labels

if TYPE_CHECKING:
    from gallery.views.search_form import SearchForm

OPTIONS = (
    ("mode", "look in", labels.MODES),
    ("aggregate", "terms", labels.AGGREGATES),
    ("encoders", "encoder", labels.ENCODERS),
    ("order", "order", labels.ORDERS),
    ("band", "show", labels.BANDS),
    ("diversity", "variety", ()),
    ("min_score", "least score", ()),
    ("legs", "legs", ()),
)


@dataclass(frozen=True)
class Chip:
    """Something in force, and the address of the same search without it."""

    name: str
    value: str
    address_without: str
    is_condition: bool = False  # it keeps images out
    thumbnail: str = ""


def chips_of(form: SearchForm) -> Iterator[Chip]:
    """Return the chips of a search that could be read."""
    yield from _of_terms(form)
    yield from _of_conditions(form)
    yield from _of_options(form)


def _of_terms(form: SearchForm) -> Iterator[Chip]:
    address = form.address
    for place, text in enumerate(address.values("q")):
        if place:  # the first stands in the box
            yield Chip("and", text, str(address.without_term("q", place)))
    for text in address.values("without"):
        yield Chip("without", text, str(address.without("without", text)))
    for kind, name in (("good", "more like"), ("bad", "less like")):
        for uuid in address.values(kind):
            thumbnail = reverse("thumbnail", args=[uuid, 256])
            without = str(address.without(kind, uuid))
            yield Chip(name, "an image", without, thumbnail=thumbnail)


def _of_conditions(form: SearchForm) -> Iterator[Chip]:
    parts = parts_of(form.query.filter)
    for part in parts:
        others = all_of(other for other in parts if other != part)
        name, value = labels.described(part)
        without = str(form.address_of(replace(form.query, filter=others)))
        yield Chip(name, value, without, is_condition=True)


def _of_options(form: SearchForm) -> Iterator[Chip]:
    for parameter, name, choices in OPTIONS:
        for value in form.address.values(parameter):
            label = dict(choices).get(value, value)
            without = str(form.address.without(parameter))
            yield Chip(name, label, without, is_condition=parameter == "min_score")


def parts_of(filter_: Filter) -> tuple[Filter, ...]:
    """Return the filters that must all hold, each once."""
    if filter_ == EVERYTHING:
        return ()
    parts = filter_.parts if isinstance(filter_, And) else (filter_,)
    return tuple(dict.fromkeys(parts))
