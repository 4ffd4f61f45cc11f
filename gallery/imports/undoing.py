"""Takes back what a run has brought, in steps that may be repeated."""

from __future__ import annotations

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from gallery.duplicates import verdicts
from gallery.models import Album, Image, ImportItem, ImportRun, ItemState, RunState, Video
from gallery.removal import delete_images

BATCH = 200
_TAKEN_BACK = (RunState.UNDOING, RunState.UNDONE)


def stop_waiting(run: ImportRun) -> int:
    """End what still waits, a batch of it. Return how many, 0 when none is left.

    First: whoever still stores one of them then finds it done, and takes its image back.
    """
    waiting = run.items.filter(state=ItemState.WAITING).order_by("pk").values("pk")[: 10 * BATCH]
    items = ImportItem.objects.filter(pk__in=waiting, state=ItemState.WAITING)
    return items.update(state=ItemState.UNDONE, about={}, changed_at=timezone.now())


@transaction.atomic
def take_back(run: ImportRun) -> int:
    """Remove the images of a batch of new items. Return how many items, 0 when none is left."""
    waiting = run.items.filter(state=ItemState.NEW).order_by("pk")
    new = waiting.select_for_update(of=("self",))[:BATCH]
    rows = list(new.values_list("pk", "image_id", "video_id"))
    # One that was deleted meanwhile is gone; sent again by hand, it is another image and stays.
    # One that took the place of others is all that is left of them, and stays too.
    brought = Q(pk__in=[image for _, image, _ in rows if image])
    videos = Video.objects.filter(pk__in=[video for _, _, video in rows if video])
    frames = Q(video__uuid__in=list(videos.values_list("uuid", flat=True)))
    gone = Image.objects.filter(brought | frames).exclude(verdicts.took_a_place())
    albums = list(gone.exclude(album=None).values_list("album", flat=True).distinct())
    delete_images(gone)
    # One that was undone before has left an album of its own to these images.
    undone = ImportRun.objects.filter(owner=run.owner_id, state__in=_TAKEN_BACK)
    _remove_empty(Album.objects.filter(pk__in=albums, made_by__in=undone))
    ImportItem.objects.filter(pk__in=[pk for pk, _, _ in rows]).update(
        state=ItemState.UNDONE, changed_at=timezone.now()
    )
    return len(rows)


@transaction.atomic
def remove_albums(run: ImportRun) -> int:
    """Remove the albums that the run has made and that are empty now. Return how many."""
    return _remove_empty(Album.objects.filter(made_by=run))


def _remove_empty(albums: QuerySet[Album]) -> int:
    held = albums.order_by("pk").select_for_update(of=("self",))
    # Asked again after the lock: an image that came into one meanwhile keeps it.
    empty = Album.objects.filter(pk__in=[album.pk for album in held], images=None)
    return empty.delete()[0]
