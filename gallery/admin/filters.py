"""Filters in the margin of the table of images.

None of them asks the database which values there are: among a million images that would cost
more than the table itself.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.admin.views.main import PAGE_VAR
from django.db.models import F, QuerySet
from django.http import HttpRequest

from gallery.inspection import MIME_TYPES
from gallery.models import Image, LinkState


class TypedFilter(admin.SimpleListFilter):
    """A filter whose value is typed, for columns with more values than a list can show."""

    template = "admin/gallery/image/typed_filter.html"
    lookup = ""

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("", "")]  # Django leaves out a filter that has none

    def __init__(
        self, request: HttpRequest, params: dict[str, Any], model: Any, model_admin: Any
    ) -> None:
        super().__init__(request, params, model, model_admin)
        # What the template sends along, so that the other filters stay.
        self.others = [
            (name, value)
            for name, values in request.GET.lists()
            if name not in {self.parameter_name, PAGE_VAR}
            for value in values
        ]
        self.without = f"?{urlencode(self.others)}"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Image]) -> QuerySet[Image]:
        value = (self.value() or "").replace("\x00", "").strip()
        return queryset.filter(**{self.lookup: value}) if value else queryset


class TagFilter(TypedFilter):
    title = "tag"
    parameter_name = "tag"
    lookup = "tags__name__iexact"


class AlbumFilter(TypedFilter):
    title = "album"
    parameter_name = "album"
    lookup = "album__name__iexact"


class CategoryFilter(TypedFilter):
    title = "category"
    parameter_name = "category"
    lookup = "category"


class LinkFilter(admin.SimpleListFilter):
    title = "source link"
    parameter_name = "link"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(state.value, state.label) for state in LinkState]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Image]) -> QuerySet[Image]:
        if self.value() not in LinkState.values:
            return queryset
        return queryset.filter(source_link__state=self.value(), source_link__url=F("source_url"))


class MimeTypeFilter(admin.SimpleListFilter):
    title = "MIME type"
    parameter_name = "mime_type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(mime_type, mime_type) for mime_type in dict.fromkeys(MIME_TYPES.values())]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Image]) -> QuerySet[Image]:
        return queryset.filter(mime_type=self.value()) if self.value() else queryset
