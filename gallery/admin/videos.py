"""The table of videos. Their frames are in that of images."""

from __future__ import annotations

from collections.abc import Iterable

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.utils.html import format_html
from django.utils.safestring import SafeString

from gallery import removal
from gallery.models import Video
from gallery.videos.times import clock


@admin.register(Video)
class VideoAdmin(admin.ModelAdmin[Video]):
    fields = readonly_fields = (
        *("original_name", "length", "frames_of_it", "visibility", "notice", "owner"),
        *("uuid", "sha256", "mime_type", "size", "added_at"),
    )
    list_display = ("original_name", "length", "frames_of_it", "visibility", "owner", "added_at")
    list_select_related = ("owner",)
    list_filter = ("visibility", "added_at")
    search_fields = ("original_name",)
    list_per_page = 50
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER

    def get_queryset(self, request: HttpRequest) -> QuerySet[Video]:
        visible = Video.objects.visible_to(request.user)
        return visible.annotate(n_frames=Count("frames"))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False  # videos come in as images do

    def delete_model(self, request: HttpRequest, obj: Video) -> None:
        self.delete_queryset(request, Video.objects.filter(pk=obj.pk))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Video]) -> None:
        removal.delete_videos(Video.objects.filter(pk__in=queryset.values("pk")))

    def get_deleted_objects(
        self, objs: Iterable[Video], request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """List the videos alone. All else that goes with them is ours to clear up."""
        names = [f"{video}, with its frames" for video in objs]
        return names, {"videos": len(names)}, set(), []

    @admin.display(description="length", ordering="seconds")
    def length(self, video: Video) -> str:
        return clock(video.seconds)

    @admin.display(description="frames")
    def frames_of_it(self, video: Video) -> SafeString:
        n = getattr(video, "n_frames", 0)
        return format_html('<a href="{}">{}</a>', video.get_absolute_url(), n)

    @admin.display(description="size")
    def size(self, video: Video) -> str:
        return f"{video.width} x {video.height} pixels, {filesizeformat(video.bytes)}"
