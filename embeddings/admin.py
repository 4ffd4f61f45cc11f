"""Spaces and snapshots, to look at: the server makes and retires them itself."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.defaultfilters import filesizeformat
from django.utils.html import format_html_join
from django.utils.safestring import mark_safe

from embeddings import recall
from embeddings.models import Snapshot, Space


class ReadOnly:
    """An admin without adding, changing and deleting."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Space)
class SpaceAdmin(ReadOnly, admin.ModelAdmin[Space]):
    list_display = ("name", "revision", "dimensions", "state", "created_at")
    list_filter = ("state",)
    ordering = ("-id",)


@admin.register(Snapshot)
class SnapshotAdmin(ReadOnly, admin.ModelAdmin[Snapshot]):
    list_display = (
        "folder", "table", "space", "kind", "vectors", "size", "found", "found_lately", "built_at",
    )  # fmt: skip
    list_select_related = ("space",)
    list_filter = ("space",)
    fields = (
        "table", "space", "folder", "kind", "wanted", "vectors", "size", "found", "effort",
        "measured_curve", "found_lately", "measured_at", "build_seconds", "built_at",
    )  # fmt: skip
    readonly_fields = ("size", "found", "measured_curve", "found_lately", "built_at")

    @admin.display(description="size", ordering="bytes")
    def size(self, snapshot: Snapshot) -> str:
        return filesizeformat(snapshot.bytes)

    @admin.display(description="recall@10", ordering="recall")
    def found(self, snapshot: Snapshot) -> str:
        return f"{snapshot.recall:.1%}"

    @admin.display(description="recall@10 lately", ordering="recall_now")
    def found_lately(self, snapshot: Snapshot) -> str:
        if snapshot.recall_now is None:
            return "not measured yet"
        return f"{snapshot.recall_now:.1%}{', decayed' if recall.warning(snapshot) else ''}"

    @admin.display(description="effort: recall@10, time")
    def measured_curve(self, snapshot: Snapshot) -> str:
        """One line an effort, the chosen one marked."""
        if not snapshot.curve:
            return "It compares with every vector: there is nothing to choose."
        lines = [
            f"{effort:g}: {share:.1%}, {ms:.2f} ms" + (", chosen" * (effort == snapshot.effort))
            for effort, share, ms in snapshot.curve
        ]
        return format_html_join(mark_safe("<br>"), "{}", ((line,) for line in lines))

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        for snapshot in _newest():
            if sentence := recall.warning(snapshot):
                messages.warning(request, sentence)
        return super().changelist_view(request, extra_context)


def _newest() -> QuerySet[Snapshot]:
    """Return the newest snapshot of each space of each table: the ones that serve."""
    return Snapshot.objects.order_by("table", "space", "-id").distinct("table", "space")
