"""The queue of record: which images and captions wait for their vector, and why some gave up."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString

from embeddings import jobs
from embeddings.admin import ReadOnly
from gallery import tasks
from gallery.admin.links import thumbnail
from gallery.models import CaptionEmbeddingJob, Image, ImageEmbeddingJob

AnyJob = ImageEmbeddingJob | CaptionEmbeddingJob
Jobs = QuerySet[Any]


def condition(status: str) -> Q:
    if status == "parked":
        return Q(failed_at__isnull=False)
    if status == "leased":
        return Q(failed_at=None, lease_until__gt=timezone.now())
    not_leased = Q(lease_until=None) | Q(lease_until__lte=timezone.now())
    return Q(failed_at=None) & not_leased


class StatusFilter(admin.SimpleListFilter):
    title = "status"
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("waiting", "Waiting"), ("leased", "With a worker"), ("parked", "Parked")]

    def queryset(self, request: HttpRequest, queryset: Jobs) -> Jobs:
        status = self.value()
        return queryset.filter(condition(status)) if status else queryset


class JobAdmin(ReadOnly, admin.ModelAdmin[Any]):
    """What the tables of jobs have in common."""

    list_filter = (StatusFilter, "space")
    ordering = ("-failed_at", "id")
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    actions = ("retry",)

    def has_retry_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(f"gallery.change_{self.opts.model_name}")

    @admin.action(description="Try again", permissions=["retry"])
    def retry(self, request: HttpRequest, queryset: Jobs) -> None:
        n = jobs.retry(queryset)
        transaction.on_commit(tasks.wake)
        self.message_user(request, f"{n} of them will be tried again.", messages.SUCCESS)

    @admin.display(description="")
    def small(self, job: AnyJob) -> SafeString:
        return thumbnail(_image_of(job), edge=40)

    @admin.display
    def status(self, job: AnyJob) -> str:
        if job.failed_at:
            return "Parked"
        if job.lease_until and job.lease_until > timezone.now():
            return "With a worker"
        return "Waiting"

    @admin.display
    def reason(self, job: AnyJob) -> str:
        return job.last_error.strip().rpartition("\n")[2][:200]


@admin.register(ImageEmbeddingJob)
class ImageJobAdmin(JobAdmin):
    list_display = (
        *("small", "image", "status", "reason", "attempts", "lease_until", "not_before"),
        *("created_at", "space"),
    )
    list_display_links = ("image",)
    list_select_related = ("image", "space")
    search_fields = ("image__original_name", "last_error")


@admin.register(CaptionEmbeddingJob)
class CaptionJobAdmin(JobAdmin):
    list_display = (
        *("small", "caption", "status", "reason", "attempts", "lease_until", "not_before"),
        *("created_at", "space"),
    )
    list_display_links = ("caption",)
    list_select_related = ("caption__image", "space")
    search_fields = ("caption__image__original_name", "last_error")


def _image_of(job: AnyJob) -> Image:
    return job.image if isinstance(job, ImageEmbeddingJob) else job.caption.image
