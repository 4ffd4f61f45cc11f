"""Takes back what a run has brought, in steps that may be repeated."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from gallery.duplicates import verdicts
from gallery.models import Image, ImportItem, ImportRun, ItemState
from gallery.removal import delete_images

BATCH = 200


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
    new = run.items.filter(state=ItemState.NEW).order_by("pk").select_for_update()[:BATCH]
    image_by_item = dict(new.values_list("pk", "image_id"))
    # One that was deleted meanwhile is gone; sent again by hand, it is another image and stays.
    # One that took the place of others is all that is left of them, and stays too.
    brought = Image.objects.filter(pk__in=filter(None, image_by_item.values()))
    delete_images(brought.exclude(verdicts.took_a_place()))
    ImportItem.objects.filter(pk__in=image_by_item).update(
        state=ItemState.UNDONE, changed_at=timezone.now()
    )
    return len(image_by_item)
