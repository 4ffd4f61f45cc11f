"""Auto tags of everybody, to look at; their owners' pages change and answer them."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString

from embeddings.admin import ReadOnly
from gallery.admin.links import images_link
from gallery.auto_tags import review
from gallery.models import AutoTag, AutoTagCalibration, TagSuggestion


class CalibrationInline(admin.StackedInline[AutoTagCalibration, AutoTag]):
    model = AutoTagCalibration
    can_delete = False
    extra = 0
    fields = (
        "space",
        ("mean", "deviation", "population"),
        ("suggest_at", "apply_at", "is_fitted"),
        ("accepted", "rejected", "calibrated_at"),
        "note",
    )
    readonly_fields = ("calibrated_at",)

    def has_add_permission(self, request: HttpRequest, obj: AutoTag | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: AutoTag | None = None) -> bool:
        return False


@admin.register(AutoTag)
class AutoTagAdmin(ReadOnly, admin.ModelAdmin[AutoTag]):
    list_display = ("tag", "owner", "mode", "wanted_precision", "figures", "tagged")
    list_filter = ("mode",)
    list_select_related = ("tag", "owner")
    search_fields = ("tag__name", "owner__username")
    list_per_page = 50
    show_full_result_count = False
    fields = (
        *("tag", "owner", "looks_for", "put_into", "mode", "wanted_precision", "figures"),
        *("version", "created_at"),
    )
    readonly_fields = ("looks_for", "put_into", "figures", "created_at")
    inlines = (CalibrationInline,)

    @admin.display(description="prompts")
    def looks_for(self, auto_tag: AutoTag) -> str:
        return " · ".join(auto_tag.prompts)

    @admin.display(description="templates")
    def put_into(self, auto_tag: AutoTag) -> str:
        return " · ".join(auto_tag.templates)

    @admin.display(description="figures")
    def figures(self, auto_tag: AutoTag) -> str:
        (told,) = review.tell([auto_tag])
        counts = f"{told.open:,} open, {told.applied:,} applied, {told.accepted:,} accepted"
        said = f"{counts}, {told.rejected:,} rejected"
        if told.precision is None:
            return said
        one = told.precision
        return f"{said}; precision {one.value:.0%} ({one.low:.0%} to {one.high:.0%})"

    @admin.display(description="images")
    def tagged(self, auto_tag: AutoTag) -> SafeString:
        return images_link("Show", tag=auto_tag.tag.name)


@admin.register(TagSuggestion)
class TagSuggestionAdmin(ReadOnly, admin.ModelAdmin[TagSuggestion]):
    list_display = ("auto_tag", "image", "state", "score", "answered_by", "answered_at")
    list_filter = ("state",)
    list_select_related = ("auto_tag__tag", "image", "answered_by")
    search_fields = ("auto_tag__tag__name",)
    ordering = ("-id",)
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
