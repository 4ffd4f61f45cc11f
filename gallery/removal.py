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
    return _delete(images, videos=set())


@transaction.atomic
def delete_videos(videos: QuerySet[Video]) -> int:
    """Delete videos with their frames and files, also those without frames; return how many frames.

    Their files go after the commit, as those of images do.
    """
    known = set(videos.values_list("uuid", flat=True))
    return _delete(Image.objects.filter(video__uuid__in=known), videos=known)


def _delete(images: QuerySet[Image], *, videos: set[UUID]) -> int:
    """Delete images, then those of `videos` and of the images' own that have no frame left."""
    batches = list(_batches(set(images.values_list("pk", flat=True))))
    # All is locked before anything is deleted, and by everybody in one order, images and then
    # videos: of two who delete frames of the same videos one waits for the other, never both.
    names = [name for batch in batches for name in _locked_files(batch)]
    locked = _locked_videos(batches, videos)
    deleted = 0
    for batch in batches:
        _, deleted_by_model = Image.objects.filter(pk__in=batch).delete()
        deleted += deleted_by_model.get(Image._meta.label, 0)
    names += _left_without_frames(locked)
    transaction.on_commit(partial(_delete_files, names))
    return deleted


def _locked_files(batch: list[int]) -> Iterator[str]:
    """Lock images; yield the names of their files."""
    # The lock holds back a worker that is about to store a vector of one of these: it then finds
    # the image gone, instead of Postgres finding a vector without an image.
    rows = Image.objects.filter(pk__in=batch).order_by("pk").select_for_update(of=("self",))
    for files in rows.values_list("file", "thumbnail_small", "thumbnail_large"):
        yield from files


def _locked_videos(batches: list[list[int]], videos: set[UUID]) -> list[int]:
    """Lock videos, and those that images are frames of. What was hidden in them stays hidden."""
    known, hidden = set(videos), set[UUID]()
    for batch in batches:
        frames = Image.objects.filter(pk__in=batch).exclude(video=None).order_by()
        for video, visibility in set(frames.values_list("video__uuid", "visibility")):
            known.add(video)
            if visibility == Visibility.PRIVATE:
                hidden.add(video)
    if not known:
        return []
    rows = Video.objects.filter(uuid__in=known).order_by("pk").select_for_update()
    locked = list(rows.values_list("pk", flat=True))
    Video.objects.filter(uuid__in=hidden).update(visibility=Visibility.PRIVATE)
    return locked


def _left_without_frames(videos: list[int]) -> list[str]:
    """Delete those of the locked videos that have no frame any more; return their files' names."""
    gone = list(Video.objects.filter(pk__in=videos, frames=None).values_list("pk", "file"))
    Video.objects.filter(pk__in=[pk for pk, _ in gone]).delete()
    return [name for _, name in gone]


def _delete_files(names: list[str]) -> None:
    for name in delete_files(default_storage, list(filter(None, names))):
        # The rows are gone and stay so: a file that resists costs space, not truth.
        logger.warning("The file %s of a deleted image could not be removed.", name)


def _batches(ids: set[int]) -> Iterator[list[int]]:
    rest = iter(sorted(ids))
    while batch := list(itertools.islice(rest, _BATCH)):
        yield batch
