"""Spaces, snapshots and proofs, to look at: the server makes and retires them itself."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.defaultfilters import filesizeformat
from django.utils.html import format_html_join
from django.utils.safestring import mark_safe

from embeddings import proofs, recall
from embeddings.models import EncoderProof, Snapshot, Space


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


@admin.register(EncoderProof)
class EncoderProofAdmin(ReadOnly, admin.ModelAdmin[EncoderProof]):
    list_display = (
        "__str__", "encoder", "cosine", "overlap_10", "faster", "has_passed", "is_here",
    )  # fmt: skip
    list_select_related = ("space",)
    list_filter = ("tower", "precision", "space")
    fields = (
        "space", "tower", "precision", "judged", "cosine", "worst_cosine", "overlap_10",
        "recalls", "times", "images", "texts", "processor", "is_here", "versions", "made_at",
    )  # fmt: skip
    readonly_fields = (
        "judged", "cosine", "worst_cosine", "overlap_10", "recalls", "times", "is_here", "made_at",
    )  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[EncoderProof]:
        return super().get_queryset(request).defer("calibration")

    @admin.display(description="encoder", ordering="space")
    def encoder(self, proof: EncoderProof) -> str:
        return proof.space.title

    @admin.display(description="mean cosine", ordering="cosine_mean")
    def cosine(self, proof: EncoderProof) -> str:
        return _figure(proof.cosine_mean, ".5f")

    @admin.display(description="worst cosine")
    def worst_cosine(self, proof: EncoderProof) -> str:
        return _figure(proof.cosine_min, ".5f")

    @admin.display(description="overlap@10", ordering="overlap")
    def overlap_10(self, proof: EncoderProof) -> str:
        return _figure(proof.overlap, ".1%")

    @admin.display(description="recall@10 of captions")
    def recalls(self, proof: EncoderProof) -> str:
        in_float32 = _figure(proof.recall_float32, ".1%")
        return f"{_figure(proof.recall, '.1%')}, in float32 {in_float32}"

    @admin.display(description="milliseconds of a text, or an image of a batch")
    def times(self, proof: EncoderProof) -> str:
        in_float32 = _figure(proof.milliseconds_float32, ".2f")
        return f"{_figure(proof.milliseconds, '.2f')}, in float32 {in_float32}"

    @admin.display(description="times as fast")
    def faster(self, proof: EncoderProof) -> str:
        if not proof.milliseconds or not proof.milliseconds_float32:
            return "-"
        return f"{proof.milliseconds_float32 / proof.milliseconds:.1f}"

    @admin.display(description="passed", boolean=True)
    def has_passed(self, proof: EncoderProof) -> bool:
        return proofs.verdict(proof) == proofs.PASSED

    @admin.display(description="judged")
    def judged(self, proof: EncoderProof) -> str:
        return proofs.verdict(proof)

    @admin.display(description="holds here", boolean=True)
    def is_here(self, proof: EncoderProof) -> bool:
        return proofs.holds_here(proof)


def _figure(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _newest() -> QuerySet[Snapshot]:
    """Return the newest snapshot of each space of each table: the ones that serve."""
    return Snapshot.objects.order_by("table", "space", "-id").distinct("table", "space")
