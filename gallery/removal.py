"""The one way out: rows first, then the files that nothing names any more."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator
from functools import partial
from uuid import UUID

from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import QuerySet

from gallery.models import Image, Video, Visibility
from gallery.storage.deleting import delete_files

logger = logging.getLogger(__name__)

_BATCH = 500


@transaction.atomic
def delete_images(images: QuerySet[Image]) -> int:
    """Delete images with all that hangs on them; return how many.

    Results lose them at once, and a video goes with the last of its frames. Their files go after
    the commit, so a rollback loses nothing.
    """
    deleted = 0
    for ids in _batches(set(images.values_list("pk", flat=True))):
        # The lock holds back a worker that is about to store a vector of one of these: it then
        # finds the image gone, instead of Postgres finding a vector without an image.
        batch = Image.objects.filter(pk__in=ids)
        locked = batch.order_by("pk").select_for_update(of=("self",))
        names = [
            name
            for files in locked.values_list("file", "thumbnail_small", "thumbnail_large")
            for name in files
        ]
        videos = _videos_of(batch)
        _, deleted_by_model = batch.delete()
        names += _left_without_frames(videos)
        deleted += deleted_by_model.get(Image._meta.label, 0)
        transaction.on_commit(partial(_delete_files, names))
    return deleted


@transaction.atomic
def delete_videos(videos: QuerySet[Video]) -> int:
    """Delete videos with their frames and files, also those without frames; return how many frames.

    Their files go after the commit, as those of images do.
    """
    known = set(videos.values_list("uuid", flat=True))
    deleted = delete_images(Image.objects.filter(video__uuid__in=known))
    transaction.on_commit(partial(_delete_files, _left_without_frames(known)))
    return deleted


def _videos_of(images: QuerySet[Image]) -> set[UUID]:
    """Return the videos that these are frames of. What was hidden in them stays hidden."""
    frames = images.exclude(video=None).order_by()
    rows = set(frames.values_list("video__uuid", "visibility"))
    hidden = [video for video, visibility in rows if visibility == Visibility.PRIVATE]
    if hidden:
        Video.objects.filter(uuid__in=hidden).update(visibility=Visibility.PRIVATE)
    return {video for video, _ in rows}


def _left_without_frames(videos: set[UUID]) -> list[str]:
    """Delete the videos that have no frame any more; return the names of their files."""
    if not videos:
        return []
    # Locked first: of two who delete the last two frames at once, the second finds none left.
    rows = Video.objects.filter(uuid__in=videos).order_by("pk")
    locked = [video.pk for video in rows.select_for_update()]
    gone = Video.objects.filter(pk__in=locked, frames=None)
    names = list(gone.values_list("file", flat=True))
    Video.objects.filter(pk__in=list(gone.values_list("pk", flat=True))).delete()
    return names


def _delete_files(names: list[str]) -> None:
    for name in delete_files(default_storage, list(filter(None, names))):
        # The rows are gone and stay so: a file that resists costs space, not truth.
        logger.warning("The file %s of a deleted image could not be removed.", name)


def _batches(ids: set[int]) -> Iterator[list[int]]:
    rest = iter(sorted(ids))
    while batch := list(itertools.islice(rest, _BATCH)):
        yield batch
