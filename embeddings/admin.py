"""Spaces and snapshots, to look at: the server makes and retires them itself."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat

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
    list_display = ("folder", "table", "space", "kind", "vectors", "size", "recall", "built_at")
    list_select_related = ("space",)
    list_filter = ("space",)

    @admin.display(description="size", ordering="bytes")
    def size(self, snapshot: Snapshot) -> str:
        return filesizeformat(snapshot.bytes)
