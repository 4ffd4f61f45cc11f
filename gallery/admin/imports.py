"""Imports and their items, to look at; the pages of the imports steer them."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString

from embeddings.admin import ReadOnly
from gallery.imports import ledger
from gallery.imports.records import summary
from gallery.models import ImportItem, ImportRun


@admin.register(ImportRun)
class ImportRunAdmin(ReadOnly, admin.ModelAdmin[ImportRun]):
    list_display = (
        *("id", "title", "source", "owner", "state", "is_dry_run"),
        *("outcome", "items_link", "created_at", "finished_at"),
    )
    list_display_links = ("title",)
    list_filter = ("state", "source", "is_dry_run", "is_unattended")
    list_select_related = ("owner",)
    search_fields = ("title", "owner__username")
    date_hierarchy = "created_at"
    show_full_result_count = False
    fields = (
        *("title", "page", "source", "options", "defaults", "owner", "is_dry_run"),
        *("is_unattended", "state", "failure", "outcome", "items_link", "is_listed", "speed"),
        *("worked_seconds", "created_at", "started_at", "finished_at", "lease_until"),
    )
    readonly_fields = ("page", "outcome", "items_link", "created_at")

    @admin.display
    def outcome(self, run: ImportRun) -> str:
        return summary(run)

    @admin.display(description="items")
    def items_link(self, run: ImportRun) -> SafeString:
        address = reverse("admin:gallery_importitem_changelist")
        query = urlencode({"run__id__exact": run.pk})
        return format_html(
            '<a href="{}?{}">{}</a>', address, query, f"{ledger.progress(run).total:,}"
        )

    @admin.display(description="page")
    def page(self, run: ImportRun) -> SafeString:
        return format_html('<a href="{}">Watch and steer</a>', run.get_absolute_url())


class OfRunFilter(admin.SimpleListFilter):
    """Keeps the run that a link has chosen; a list of all runs would be endless."""

    title = "import"
    parameter_name = "run__id__exact"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        chosen = request.GET.get(self.parameter_name, "")
        return [(chosen, f"Import {chosen}")] if chosen.isdecimal() else [("", "")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        value = self.value() or ""
        is_number = value.isdecimal() and len(value) < 19
        return queryset.filter(run_id=int(value)) if is_number else queryset


@admin.register(ImportItem)
class ImportItemAdmin(ReadOnly, admin.ModelAdmin[ImportItem]):
    list_display = ("name", "state", "short_reason", "image", "attempts", "run", "changed_at")
    list_filter = ("state", OfRunFilter)
    list_select_related = ("run", "image")
    search_fields = ("name", "key", "reason")
    ordering = ("-id",)
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    fields = (
        *("run", "name", "key", "version", "url", "about", "state", "reason", "attempts"),
        *("image", "changed_at"),
    )
    readonly_fields = ("changed_at",)

    @admin.display(description="reason")
    def short_reason(self, item: ImportItem) -> str:
        return item.reason[:200]
