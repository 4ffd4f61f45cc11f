"""Albums and tags."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest
from django.utils.safestring import SafeString

from gallery.admin.links import images_link
from gallery.models import Album, Tag


@admin.register(Album)
class AlbumAdmin(admin.ModelAdmin[Album]):
    list_display = ("name", "owner", "images_in_it", "created_at")
    list_select_related = ("owner",)
    search_fields = ("name",)
    autocomplete_fields = ("owner",)
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Album]:
        albums = super().get_queryset(request)
        return albums if request.user.is_superuser else albums.filter(owner=request.user.pk)

    def get_readonly_fields(
        self, request: HttpRequest, obj: Album | None = None
    ) -> tuple[str, ...]:
        # An album and its images have one owner, so it cannot change hands alone.
        return ("owner",) if obj else ()

    @admin.display(description="images")
    def images_in_it(self, album: Album) -> SafeString:
        return images_link("Show", album=album.name)


class TagForm(ModelForm[Tag]):
    def clean_name(self) -> str:
        return " ".join(self.cleaned_data["name"].split()).lower()


@admin.register(Tag)
class TagAdmin(admin.ModelAdmin[Tag]):
    form = TagForm
    fields = ("name",)
    list_display = ("name", "images_with_it")
    search_fields = ("name",)
    show_full_result_count = False

    @admin.display(description="images")
    def images_with_it(self, tag: Tag) -> SafeString:
        return images_link("Show", tag=tag.name)
