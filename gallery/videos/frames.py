"""A frame as its page shows it: the video there, and the frames beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gallery.models import Image, ImageQuerySet, Video
from gallery.videos.containers import BY_MIME_TYPE

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

_BESIDE = 3  # frames before and after


@dataclass(frozen=True, kw_only=True)
class Frame:
    """What a viewer may see around a frame. `video` is None where another frame is hidden."""

    image: Image
    seconds: float
    video: Video | None
    beside: list[Image]  # in the order of time, this one among them
    count: int  # of the video's frames

    @property
    def is_played(self) -> bool:
        """Whether browsers play such files at all."""
        container = BY_MIME_TYPE.get(self.video.mime_type) if self.video else None
        return container is not None and container.is_shown

    @property
    def previous(self) -> Image | None:
        return next((one for one in reversed(self.beside) if self._time(one) < self.seconds), None)

    @property
    def next(self) -> Image | None:
        return next((one for one in self.beside if self._time(one) > self.seconds), None)

    def _time(self, image: Image) -> float:
        return image.video_seconds or 0.0


def frame_of(image: Image, viewer: AbstractBaseUser | AnonymousUser) -> Frame | None:
    """Return what is around a frame; None for an image that is no frame."""
    if image.video_id is None or image.video_seconds is None:
        return None
    frames = Image.objects.visible_to(viewer).filter(video__uuid=image.video_id)
    return Frame(
        image=image,
        seconds=image.video_seconds,
        video=Video.objects.visible_to(viewer).filter(uuid=image.video_id).first(),
        beside=_beside(frames, image.video_seconds),
        count=frames.count(),
    )


def _beside(frames: ImageQuerySet, seconds: float) -> list[Image]:
    before = frames.filter(video_seconds__lt=seconds).order_by("-video_seconds")[:_BESIDE]
    after = frames.filter(video_seconds__gte=seconds).order_by("video_seconds")[: _BESIDE + 1]
    return [*reversed(before), *after]
