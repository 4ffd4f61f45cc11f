"""The table of images, and the page of one."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.postgres.search import SearchQuery
from django.db import models, transaction
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from gallery import removal, tasks, texts
from gallery.admin import filters, links
from gallery.admin.actions import ACTIONS, ImageActionForm
from gallery.errors import ImageRefused
from gallery.models import Caption, Image, SourceLink, State


class ImageForm(forms.ModelForm[Image]):
    def clean_metadata(self) -> dict[str, Any]:
        try:
            return texts.metadata(self.cleaned_data["metadata"] or {})
        except ImageRefused as refusal:
            raise forms.ValidationError(str(refusal)) from refusal

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        album = cleaned.get("album")
        if album and album.owner_id != self.instance.owner_id:
            self.add_error("album", "This album belongs to somebody else than the image.")
        return cleaned


class CaptionInline(admin.TabularInline[Caption, Image]):
    model = Caption
    fields = ("text", "source")
    extra = 0
    verbose_name = "further caption"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Caption]:
        return super().get_queryset(request).exclude(source="")

    def get_formset(self, *args: Any, **kwargs: Any) -> Any:
        formset = super().get_formset(*args, **kwargs)
        formset.form.base_fields["text"].widget = forms.Textarea(attrs={"rows": 2, "cols": 60})
        return formset


FILE_NAME = re.compile(r"\S*[._]\S*")
SHA256 = re.compile(r"[0-9a-f]{64}", re.IGNORECASE)


def found_by(term: str) -> Q:
    """Return the condition that finds images by words, a file name, an id or a sha256."""
    try:
        return Q(uuid=uuid.UUID(term))
    except ValueError:
        pass  # not an id, then
    if SHA256.fullmatch(term):
        return Q(sha256=term.lower())
    if FILE_NAME.fullmatch(term):
        # Stored as its plain words: "IMG_12.jpg" as img, 12 and jpg.
        return Q(full_text=SearchQuery(re.sub(r"[\W_]+", " ", term), config="simple"))
    # Captions and tags are stored as English, names and metadata as they stand.
    english = SearchQuery(term, config="english", search_type="websearch")
    return Q(full_text=english | SearchQuery(term, config="simple", search_type="websearch"))


@admin.register(Image)
class ImageAdmin(admin.ModelAdmin[Image]):
    form = ImageForm
    inlines = (CaptionInline,)
    autocomplete_fields = ("album", "tags")
    formfield_overrides = {models.URLField: {"assume_scheme": "https"}}
    readonly_fields = (
        *("preview", "state_with_reason", "owner", "uuid", "sha256", "mime_type", "size"),
        *("link", "dominant_colours", "added_at", "changed_at"),
    )
    fieldsets = (
        (None, {"fields": ("preview", "state_with_reason", "caption", "tags")}),
        ("Place in the gallery", {"fields": ("album", "category", "visibility", "owner")}),
        ("Taken", {"fields": ("taken_at", "camera", ("latitude", "longitude"))}),
        ("Origin", {"fields": ("original_name", "source_url", "link", "licence", "attribution")}),
        ("Metadata", {"fields": ("metadata",)}),
        (
            "File",
            {
                "fields": (
                    *("uuid", "sha256", "mime_type", "size", "dominant_colours"),
                    *("added_at", "changed_at"),
                )
            },
        ),
    )

    list_display = (
        *("small", "name", "state_with_reason", "visibility", "album", "tag_names"),
        *("owner", "added"),
    )
    list_display_links = ("small", "name")
    list_select_related = ("owner", "album", "source_link")
    list_filter = (
        *("state", "visibility", filters.TagFilter, filters.AlbumFilter),
        *(filters.CategoryFilter, "added_at", filters.MimeTypeFilter, filters.LinkFilter),
    )
    list_per_page = 50
    search_fields = ("full_text",)
    search_help_text = 'Words, "a phrase", -without; or a file name, an id, a sha256.'
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    actions = ACTIONS
    action_form = ImageActionForm

    def get_queryset(self, request: HttpRequest) -> QuerySet[Image]:
        return Image.objects.visible_to(request.user).prefetch_related("tags")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Image], search_term: str
    ) -> tuple[QuerySet[Image], bool]:
        term = search_term.strip()
        return (queryset.filter(found_by(term)) if term else queryset), False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False  # images come in by the upload page, which the table links to

    def delete_model(self, request: HttpRequest, obj: Image) -> None:
        removal.delete_images(Image.objects.filter(pk=obj.pk))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Image]) -> None:
        removal.delete_images(queryset)

    def get_deleted_objects(
        self, objs: Iterable[Image], request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """List the images alone. All else that goes with them is ours to clear up."""
        names = [str(image) for image in objs]
        return names, {"images": len(names)}, set(), []

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: Any) -> None:
        super().save_related(request, form, formsets, change)
        transaction.on_commit(tasks.wake)  # changed captions are embedded again

    @admin.display(description="")
    def small(self, image: Image) -> SafeString:
        return links.thumbnail(image)

    @admin.display(description="image", ordering="original_name")
    def name(self, image: Image) -> SafeString:
        # Names are long words: they may break, or the last columns would be out of sight.
        style = "display:inline-block;width:12em;overflow-wrap:anywhere"
        name = format_html('<span style="{}">{}</span>', style, image)
        return format_html("{}{}", name, links.broken_mark(image))

    @admin.display(description="preview")
    def preview(self, image: Image) -> SafeString:
        return links.preview(image)

    @admin.display(description="state", ordering="state")
    def state_with_reason(self, image: Image) -> str:
        if image.state == State.FAILED:
            return f"Failed: {image.failure or 'no reason is known'}"
        return image.get_state_display()

    @admin.display(description="source link")
    def link(self, image: Image) -> str:
        known = SourceLink.of(image)
        if known is None:
            return (
                "Not looked at yet: manage.py check_links does that." if image.source_url else "-"
            )
        looked_at = f"{timezone.localtime(known.checked_at):%Y-%m-%d %H:%M}"
        return f"{known.get_state_display()}. {known.reason} Looked at {looked_at}."

    @admin.display(description="tags")
    def tag_names(self, image: Image) -> str:
        return ", ".join(tag.name for tag in image.tags.all())

    @admin.display(description="added", ordering="added_at")
    def added(self, image: Image) -> str:
        return f"{timezone.localtime(image.added_at):%Y-%m-%d %H:%M}"

    @admin.display(description="size")
    def size(self, image: Image) -> str:
        return f"{image.width} x {image.height} pixels, {filesizeformat(image.bytes)}"

    @admin.display(description="colours")
    def dominant_colours(self, image: Image) -> SafeString:
        return format_html_join(
            " ",
            '<span title="{0}, {1} %" style="display:inline-block;width:2em;height:2em;'
            'border-radius:4px;background:{0}"></span>',
            ((colour["hex"], round(100 * colour["share"])) for colour in image.colours),
        )
