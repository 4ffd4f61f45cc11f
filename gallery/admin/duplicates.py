"""What was decided about duplicates: to look at, and to forget."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest

from gallery.models import DuplicateVerdict


@admin.register(DuplicateVerdict)
class DuplicateVerdictAdmin(admin.ModelAdmin[DuplicateVerdict]):
    list_display = ("verdict", "owner", "first_sha256", "second_sha256", "decided_by", "decided_at")
    list_filter = ("verdict", "decided_at")
    list_select_related = ("owner", "decided_by")
    search_fields = ("first_sha256", "second_sha256")
    search_help_text = "A sha256, or how it begins."
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False  # decided on the page of duplicates

    def has_change_permission(
        self, request: HttpRequest, obj: DuplicateVerdict | None = None
    ) -> bool:
        return False
