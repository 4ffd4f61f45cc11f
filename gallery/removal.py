"""The one way out: rows first, then the files that nothing names any more."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator
from functools import partial

from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import QuerySet

from gallery.models import Image

logger = logging.getLogger(__name__)

_BATCH = 500


@transaction.atomic
def delete_images(images: QuerySet[Image]) -> int:
    """Delete images with all that hangs on them; return how many.

    Results lose them at once. Their files go after the commit, so a rollback loses nothing.
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
        _, deleted_by_model = batch.delete()
        deleted += deleted_by_model.get(Image._meta.label, 0)
        transaction.on_commit(partial(_delete_files, names))
    return deleted


def _delete_files(names: list[str]) -> None:
    for name in filter(None, names):
        try:
            default_storage.delete(name)
        except OSError:
            # The rows are gone and stay so: a file that resists costs space, not truth.
            logger.warning("The file %s of a deleted image could not be removed.", name)


def _batches(ids: set[int]) -> Iterator[list[int]]:
    rest = iter(sorted(ids))
    while batch := list(itertools.islice(rest, _BATCH)):
        yield batch
