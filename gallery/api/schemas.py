"""What the API says: images and answers as JSON."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.contrib.auth.models import AnonymousUser, User
from django.urls import reverse
from ninja import Field, Schema

from gallery import media, thumbnails
from gallery.models import Image, State, Visibility


class Problem(Schema):
    """Every error: what is wrong, as a sentence."""

    detail: str


class Stored(Schema):
    """An image that is in the gallery now; `is_new` is false when it was there before.

    Of a video it is the first frame, and `video` names the others: GET /videos/{id}.
    """

    id: uuid.UUID
    sha256: str
    is_new: bool
    state: State
    duplicates: list[uuid.UUID] = Field([], description="Your images that a new one looks like.")
    video: uuid.UUID | None = None

    @classmethod
    def of(cls, image: Image, *, is_new: bool, duplicates: Sequence[uuid.UUID] = ()) -> Stored:
        return cls(
            id=image.uuid,
            sha256=image.sha256,
            is_new=is_new,
            state=State(image.state),
            duplicates=list(duplicates),
            video=image.video_id,
        )


class Refused(Schema):
    """A file that was not taken; nothing of it is stored. `like`: the image of yours it shows."""

    file_name: str
    error: str
    like: uuid.UUID | None = None


class NoneStored(Problem):
    """Of no file anything is stored."""

    refused: list[Refused]


class CaptionRecord(Schema):
    text: str
    source: str


class Colour(Schema):
    hex: str
    share: float


class VideoPlace(Schema):
    """Of which video an image is a frame, and at which second; `url` opens the video there."""

    id: uuid.UUID
    seconds: float
    url: str

    @classmethod
    def of(cls, image: Image) -> VideoPlace | None:
        if image.video_id is None or image.video_seconds is None:
            return None
        address = reverse("video-file", args=[image.video_id])
        return cls.model_construct(
            id=image.video_id,
            seconds=image.video_seconds,
            url=f"{address}#t={image.video_seconds:g}",
        )


class ImageRecord(Schema):
    """All that is known about an image.

    Where it was taken is told to its owner alone, and who owns it to those who are logged in.
    """

    id: uuid.UUID
    sha256: str
    state: State
    failure: str
    visibility: Visibility
    owner: str | None
    caption: str
    captions: list[CaptionRecord]
    tags: list[str]
    album: str | None
    category: str
    metadata: dict[str, Any]
    file_name: str
    mime_type: str
    width: int
    height: int
    bytes: int
    colours: list[Colour]
    taken_at: datetime | None
    camera: str
    latitude: float | None
    longitude: float | None
    source_url: str
    licence: str
    attribution: str
    added_at: datetime
    changed_at: datetime
    url: str
    thumbnail_url: str
    original_url: str
    video: VideoPlace | None = None

    @classmethod
    def of(cls, image: Image, viewer: User | AnonymousUser) -> ImageRecord:
        may_know_place = image.owner_id == viewer.pk or viewer.is_superuser
        return cls(
            id=image.uuid,
            file_name=image.original_name,
            owner=image.owner.get_username() if viewer.is_authenticated else None,
            captions=[
                CaptionRecord(text=c.text, source=c.source)
                for c in image.captions.all()
                if c.source  # "" is the image's own, above
            ],
            tags=[tag.name for tag in image.tags.all()],
            album=image.album.name if image.album else None,
            colours=[Colour(**colour) for colour in image.colours],
            latitude=image.latitude if may_know_place else None,
            longitude=image.longitude if may_know_place else None,
            url=image.get_absolute_url(),
            thumbnail_url=thumbnail_url(image),
            original_url=reverse("original", args=[image.uuid]),
            video=VideoPlace.of(image),
            **{name: getattr(image, name) for name in PLAIN_FIELDS},
        )


PLAIN_FIELDS = (
    *("sha256", "state", "failure", "visibility", "caption", "category", "metadata"),
    *("mime_type", "width", "height", "bytes", "taken_at", "camera"),
    *("source_url", "licence", "attribution", "added_at", "changed_at"),
)


class ImageList(Schema):
    """Some images, newest first; `next` goes into `after` for the following ones."""

    images: list[ImageRecord]
    next: str | None


def thumbnail_url(image: Image) -> str:
    return media.thumbnail_url(image, thumbnails.SMALL)
