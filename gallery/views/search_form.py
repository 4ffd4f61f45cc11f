"""The search form: from an address or a posted image to a query, and back to an address."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

from django import forms
from django.core.files.uploadedfile import UploadedFile
from django.urls import reverse

from gallery.errors import QueryInvalid
from gallery.forms import TagsField, problems
from gallery.inspection import QUERY_EDGE, open_image
from gallery.models import Visibility
from gallery.query import MAX_TEXT, Filter, ImageTerm, PixelsTerm, Query, Term, TextTerm, conditions

NO_ID = "“similar_to” must be the id of an image."
NO_DATE = "“{}” must be a date such as 2026-05-31."


@dataclass(frozen=True)
class Chip:
    """A condition in force, and the address of the same search without it."""

    field: str
    name: str
    value: str
    address_without: str


class SearchForm(forms.Form):
    """The search page's parameters. `tag` may be repeated; `image` comes by POST."""

    max_text = MAX_TEXT

    q = forms.CharField(required=False)
    image = forms.FileField(required=False, allow_empty_file=True)
    similar_to = forms.UUIDField(required=False, error_messages={"invalid": NO_ID})
    tag = TagsField(required=False, widget=forms.MultipleHiddenInput)
    album = forms.CharField(required=False, max_length=200)
    taken_after = forms.DateField(
        required=False, error_messages={"invalid": NO_DATE.format("Taken from")}
    )
    taken_before = forms.DateField(
        required=False, error_messages={"invalid": NO_DATE.format("Taken until")}
    )
    visibility = forms.CharField(required=False)
    k = forms.IntegerField(
        required=False, error_messages={"invalid": "“k” must be a whole number."}
    )
    before = forms.UUIDField(
        required=False, error_messages={"invalid": "“before” must be the id of an image."}
    )

    def check(self) -> None:
        """Raise QueryInvalid, with sentences, unless every parameter can be read."""
        if not self.is_valid():
            raise QueryInvalid(problems(self))

    def as_filter(self) -> Filter:
        return conditions(
            tags=self.cleaned_data["tag"],
            album=self.cleaned_data["album"],
            taken_after=self.cleaned_data["taken_after"],
            taken_before=self.cleaned_data["taken_before"],
            visibility=self.cleaned_data["visibility"],
        )

    def as_query(self) -> Query:
        """Return the query. Raise ImageRefused when the posted file is not an image."""
        terms: list[Term] = []
        if text := self.cleaned_data["q"]:
            terms.append(TextTerm(text))
        if uuid := self.cleaned_data["similar_to"]:
            terms.append(ImageTerm(uuid))
        file = self.cleaned_data["image"]
        if isinstance(file, UploadedFile):
            terms.append(PixelsTerm(open_image(file, edge=QUERY_EDGE).pixels))
        k = self.cleaned_data["k"]
        return Query(
            terms=tuple(terms),
            filter=self.as_filter(),
            k=Query.k if k is None else k,
        )

    @property
    def has_terms(self) -> bool:
        return any(self.cleaned_data[name] for name in ("q", "similar_to", "image"))

    def address(self, *, without: tuple[str, str] = ("", ""), **changed: object) -> str:
        """Return this search's shortest address, less one condition, with others changed."""
        values = {**getattr(self, "cleaned_data", {}), **changed}
        values.pop("image", None)
        pairs = [("q", values.pop("q", ""))]
        pairs += [("tag", tag) for tag in values.pop("tag", ())]
        pairs += values.items()
        kept = [
            (name, str(value))
            for name, value in pairs
            if value not in ("", None) and (name, str(value)) != without
        ]
        return reverse("search") + (f"?{urlencode(kept)}" if kept else "")

    def address_without_image(self) -> str:
        return self.address(similar_to=None, k=None)

    def chips(self) -> list[Chip]:
        """Return the filter's conditions, to be shown and taken away one by one."""
        values = getattr(self, "cleaned_data", {})
        conditions = [("tag", "tag", tag) for tag in values.get("tag", ())]
        conditions += [
            (field, name, str(values[field]))
            for field, name in (
                ("album", "album"),
                ("taken_after", "taken from"),
                ("taken_before", "taken until"),
                ("visibility", "visibility"),
            )
            if values.get(field)
        ]
        return [
            Chip(field, name, value, self.address(without=(field, value), before=None))
            for field, name, value in conditions
        ]

    @property
    def visibilities(self) -> list[tuple[str, str]]:
        return list(Visibility.choices)
