"""What is done to a video as a whole: its frames and its file together."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from gallery import removal
from gallery.errors import ImageRefused
from gallery.models import Image, Video, Visibility


@transaction.atomic
def show_to(video: Video, visibility: str) -> None:
    """Make a video and all its frames public or private. Raise ImageRefused for another word."""
    if visibility not in Visibility.values:
        raise ImageRefused("The visibility must be public or private.")
    frames = Image.objects.filter(video__uuid=video.uuid)
    # Locked as who deletes them does: frames in their order, then the video.
    list(frames.order_by("pk").select_for_update(of=("self",)).values_list("pk", flat=True))
    frames.update(visibility=visibility, changed_at=timezone.now())
    Video.objects.filter(pk=video.pk).update(visibility=visibility)


def delete(video: Video) -> int:
    """Delete a video with its frames and files; return how many frames there were."""
    return removal.delete_videos(Video.objects.filter(pk=video.pk))
