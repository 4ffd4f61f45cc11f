"""Videos: read one with its frames, show or hide it, delete it. They come in as images do."""

from __future__ import annotations

import uuid

from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from django.urls import reverse
from ninja import Router, Schema, Status
from ninja.errors import AuthorizationError
from pydantic import ConfigDict

from gallery.api.auth import READERS
from gallery.api.schemas import Problem, thumbnail_url
from gallery.models import Image, Video, Visibility
from gallery.videos import changing

router = Router(tags=["videos"])

READING = dict.fromkeys((400, 401, 404, 503), Problem)
WRITING = dict.fromkeys((400, 401, 403, 404, 503), Problem)


class FrameRecord(Schema):
    """One frame of a video: an image at /images/{id}."""

    id: uuid.UUID
    seconds: float
    url: str
    thumbnail_url: str

    @classmethod
    def of(cls, image: Image) -> FrameRecord:
        return cls(
            id=image.uuid,
            seconds=image.video_seconds or 0.0,
            url=image.get_absolute_url(),
            thumbnail_url=thumbnail_url(image),
        )


class VideoRecord(Schema):
    """A video and those of its frames that the viewer may see, in the order of time."""

    id: uuid.UUID
    sha256: str
    file_name: str
    mime_type: str
    width: int
    height: int
    bytes: int
    seconds: float
    visibility: Visibility
    notice: str
    owner: str | None
    file_url: str
    frames: list[FrameRecord]

    @classmethod
    def of(cls, video: Video, request: HttpRequest) -> VideoRecord:
        frames = Image.objects.visible_to(request.user).filter(video__uuid=video.uuid)
        return cls(
            id=video.uuid,
            file_name=video.original_name,
            owner=video.owner.get_username() if request.user.is_authenticated else None,
            file_url=reverse("video-file", args=[video.uuid]),
            frames=[FrameRecord.of(image) for image in frames.order_by("video_seconds")],
            **{name: getattr(video, name) for name in _PLAIN_FIELDS},
        )


_PLAIN_FIELDS = (
    *("sha256", "mime_type", "width", "height", "bytes", "seconds", "visibility", "notice"),
)


class VideoChanges(Schema):
    """Of a video as a whole: its frames get the same."""

    model_config = ConfigDict(extra="forbid")

    visibility: Visibility


@router.get("/videos/{uuid:id}", auth=READERS, response={200: VideoRecord, **READING})
def get_video(request: HttpRequest, id: uuid.UUID) -> VideoRecord:
    """Tell all that is known about a video, with its frames."""
    return VideoRecord.of(_visible(request, id), request)


@router.patch("/videos/{uuid:id}", response={200: VideoRecord, **WRITING})
def change_video(request: HttpRequest, id: uuid.UUID, changes: VideoChanges) -> VideoRecord:
    """Make a video and all its frames public or private."""
    changing.show_to(_own(request, id), changes.visibility)
    return get_video(request, id)


@router.delete("/videos/{uuid:id}", response={204: None, **WRITING})
def delete_video(request: HttpRequest, id: uuid.UUID) -> Status[None]:
    """Delete a video, its frames and their vectors."""
    changing.delete(_own(request, id))
    return Status(204, None)


def _visible(request: HttpRequest, id: uuid.UUID) -> Video:
    visible = Video.objects.visible_to(request.user).select_related("owner")
    return get_object_or_404(visible, uuid=id)


def _own(request: HttpRequest, id: uuid.UUID) -> Video:
    video = _visible(request, id)
    if video.owner_id != request.user.pk and not request.user.is_superuser:
        raise AuthorizationError(message="Only its owner may change this video.")
    return video
