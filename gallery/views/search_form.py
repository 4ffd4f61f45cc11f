"""The search form: from an address or a posted image to a query, and back to an address.

The page has plain fields for what people filter by most. In an address most of these are
conditions of the `filter` parameter: the form takes out of a filter what it has a field for, and
shows the rest as text.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from django.core.files.uploadedfile import UploadedFile

from gallery import spaces
from gallery.decoding import decoders
from gallery.errors import QueryInvalid
from gallery.inspection import QUERY_EDGE
from gallery.query import (
    MAX_TEXT,
    Condition,
    Filter,
    Operator,
    PixelsTerm,
    Query,
    TextTerm,
    forms,
    language,
)
from gallery.query.fields import FIELDS, Field, field_of
from gallery.query.filters import MAX_TAGS, all_of
from gallery.query.values import Period
from gallery.views import labels
from gallery.views.addresses import Address
from gallery.views.chips import Chip, chips_of, parts_of

if TYPE_CHECKING:
    from django.http import QueryDict
    from django.utils.datastructures import MultiValueDict
    from PIL.Image import Image as Pixels

MAX_FILTER = 2000  # characters in the input: an address must not grow too long for servers

# Fields of the page alone, and the conditions that they are.
PLAIN = {
    "format": ("format", Operator.IS),
    "orientation": ("orientation", Operator.IS),
    "megapixels": ("megapixels", Operator.AT_LEAST),
    "camera": ("camera", Operator.CONTAINS),
    "licence": ("licence", Operator.CONTAINS),
    "near": ("near", Operator.IS),
    "colour": ("colour", Operator.IS),
}
FIELDS_BY_CONDITION = {
    **{condition: field for field, condition in PLAIN.items()},
    ("tag", Operator.IS): "tag",
    ("album", Operator.IS): "album",
    ("visibility", Operator.IS): "visibility",
    ("taken", Operator.AT_LEAST): "taken_after",
    ("taken", Operator.AT_MOST): "taken_before",
}
ORDINARY: dict[str, str] = {
    "mode": Query.mode,
    "order": Query.order,
    "band": Query.least_band,
    "aggregate": Query.aggregate,
    "encoders": Query.encoders,
}
SPELLED_OUT = ("tag", "album", "taken_after", "taken_before", "visibility")
FURTHER = (*PLAIN, "filter")
SEARCHED_BY = ("q", "without", "similar_to", "good")
CARRIED = ("similar_to", "similar_to_weight", "good", "bad", "without", "legs", "k")

# Stands where an image is shown, or nothing is asked yet, so that the rest can be read alone.
STAND_IN = TextTerm("image", weight=0.5)


class SearchForm:
    """The search page's parameters.

    `read` comes first. Until it has succeeded there are only `values`, as they were typed.
    """

    max_text = MAX_TEXT
    max_filter = MAX_FILTER
    modes, orders, bands = labels.MODES, labels.ORDERS, labels.BANDS
    aggregates, visibilities = labels.AGGREGATES, labels.VISIBILITIES
    encoders = labels.ENCODERS
    formats, orientations = labels.FORMAT_CHOICES, labels.ORIENTATION_CHOICES
    colours = labels.COLOURS

    def __init__(
        self, data: QueryDict, files: MultiValueDict[str, UploadedFile[Any]] | None = None
    ) -> None:
        self.lists = {name: values for name, values in data.lists() if any(values)}
        self.file = files.get("image") if files else None
        # In the address of a search by a shown image, which the address itself cannot hold.
        self.is_by_image = self.file is not None or "image" in self.lists.get("by", ())
        self.values = ORDINARY | {name: values[0] for name, values in self.lists.items()}
        self.values["q"] = self.lists.get("q", [""])[0]
        for name in ("tag", "without"):  # these inputs add to what there is
            self.values.pop(name, None)
        self.carried = self._carried()
        self.filter_problem = ""
        self.query = Query(terms=(STAND_IN,))
        self.address = Address()
        self.chips: list[Chip] = []

    def read(self) -> None:
        """Raise QueryInvalid, with a sentence, unless every parameter can be read."""
        self.query = self._read_query()
        self.address = self.address_of(self.query)
        self.values |= self._values_of(self.query.filter)
        self.carried = self._carried()
        self.chips = list(chips_of(self))

    def _read_query(self) -> Query:
        known = {name: self.lists[name] for name in forms.PARAMETERS if name in self.lists}
        known["filter"] = [language.write(self._read_filter())]
        stand_in = () if self._has_written_terms else (STAND_IN,)
        query = forms.from_parameters(known, terms=stand_in)
        return replace(query, filter=ordered(query.filter))

    def _read_filter(self) -> Filter:
        """Return the filter of the text and of the page's own fields."""
        if len(written := self.lists.get("filter", [])) > 1:
            raise QueryInvalid("“filter” is given more than once; write AND between.")
        try:
            parsed = language.parse("".join(written))
        except QueryInvalid as error:
            self.filter_problem = str(error)
            raise
        plain = [
            Condition(*PLAIN[name], value)
            for name in PLAIN
            for value in self.lists.get(name, ())
            if value.strip()
        ]
        return all_of([*plain, parsed])

    def _values_of(self, filter_: Filter) -> dict[str, str]:
        """Return what the page's fields show of a filter; the rest is that of `filter`."""
        values = dict.fromkeys((*FIELDS_BY_CONDITION.values(), "filter"), "")
        tags: list[str] = []
        rest: list[Filter] = []
        for part in parts_of(filter_):
            field = field_for(part)
            if field == "tag" and len(tags) < MAX_TAGS:
                tags.append(value_of(part))
            elif field and field != "tag" and not values[field]:
                values[field] = value_of(part)
            else:
                rest.append(part)
        self.lists["tag"] = tags
        del values["tag"]
        return {**values, "filter": language.write(all_of(rest))}

    def _carried(self) -> list[tuple[str, str]]:
        """Return what the form has no field for, to be sent along."""
        pairs = [("q", text) for text in self.lists.get("q", [])[1:]]
        pairs += [("weight", weight) for weight in self.lists.get("weight", ())]
        pairs += [("tag", tag) for tag in self.lists.get("tag", ())]
        pairs += [(name, value) for name in CARRIED for value in self.lists.get(name, ())]
        if not self.has_several_terms:
            pairs += [("aggregate", value) for value in self.lists.get("aggregate", ())]
        return [(name, value) for name, value in pairs if value]

    @property
    def _has_written_terms(self) -> bool:
        return any(value.strip() for name in SEARCHED_BY for value in self.lists.get(name, ()))

    @property
    def has_terms(self) -> bool:
        return self.file is not None or self._has_written_terms

    @property
    def has_several_terms(self) -> bool:
        terms = [value for name in SEARCHED_BY for value in self.lists.get(name, ()) if value]
        return len(terms) + self.is_by_image > 1

    @property
    def has_two_encoders(self) -> bool:
        """Whether there is a second space to ask, or one is asked for."""
        beside = spaces.beside_lately()
        is_filled = beside is not None and beside.filled_at is not None
        return is_filled or self.values["encoders"] != Query.encoders

    def as_query(self) -> Query:
        """Return the query with the image sent. Raise ImageRefused when the file is none."""
        if self.pixels is None:
            if self.query.terms == (STAND_IN,):
                raise QueryInvalid("Say what to look for, or choose an image.")
            return self.query
        written = tuple(term for term in self.query.terms if term is not STAND_IN)
        return replace(self.query, terms=(*written, PixelsTerm(self.pixels)))

    @cached_property
    def pixels(self) -> Pixels | None:
        if self.file is None:
            return None
        return decoders.open_new(self.file, edge=QUERY_EDGE)

    def address_of(self, query: Query) -> Address:
        """Return the shortest address of a search that differs from this one."""
        pairs = forms.to_parameters(replace(query, filter=ordered(query.filter)))
        if query.terms == (STAND_IN,):
            pairs = [(name, value) for name, value in pairs if name not in ("q", "weight")]
        return Address.of([*pairs, *([("by", "image")] if self.is_by_image else [])])

    def address_without_image(self) -> Address:
        return self.address.without("by")

    def conditions(self) -> list[Chip]:
        """Return the chips of what keeps images out."""
        return [chip for chip in self.chips if chip.is_condition]

    @property
    def open_panel(self) -> str:
        """Return which panel holds what is wrong."""
        return "filters" if self.filter_problem else ""

    @property
    def is_further_open(self) -> bool:
        return any(self.values.get(name) for name in FURTHER)

    @property
    def syntax(self) -> list[Field]:
        """Return the fields that a filter may name, for the help."""
        return list(FIELDS.values())

    @property
    def suggested_name(self) -> str:
        return self.values["q"][:100]


def field_for(part: Filter) -> str:
    """Return the page's field that shows a condition, or "" where it has none."""
    if not isinstance(part, Condition):
        return ""
    is_longer = isinstance(part.value, Period) and part.value.first != part.value.last
    is_mixed = part.field == "colour" and not isinstance(part.value, str)
    if is_longer or is_mixed:
        return ""
    return FIELDS_BY_CONDITION.get((part.field, part.operator), "")


def ordered(filter_: Filter) -> Filter:
    """Return the same filter with those conditions first that are parameters of an address."""

    def place(part: Filter) -> int:
        field = field_for(part)
        return SPELLED_OUT.index(field) if field in SPELLED_OUT else len(SPELLED_OUT)

    return all_of(sorted(parts_of(filter_), key=place))


def value_of(part: Filter) -> str:
    assert isinstance(part, Condition)
    return field_of(part.field).write(part.value).removesuffix(".0")
