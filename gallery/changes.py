"""The one way to change what people say of an image; pages and API both go through it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.db import transaction
from django.utils import timezone

from gallery import tasks, texts
from gallery.errors import ImageRefused
from gallery.ingest import MAX_CAPTION
from gallery.models import Album, Image, Tag, Visibility


@transaction.atomic
def change_record(
    image: Image,
    *,
    caption: str | None = None,
    tags: Iterable[str] | None = None,
    album: str | None = None,
    visibility: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Change what is given of a record; None leaves it as it is. `image` itself stays stale.

    An empty album takes the image out of its album, a new name makes a new one. Raise
    ImageRefused for what a record cannot hold, and Image.DoesNotExist when the image was deleted
    in the meantime.
    """
    values: dict[str, Any] = {}
    if caption is not None:
        values["caption"] = texts.text(caption, name="caption", longest=MAX_CAPTION)
        transaction.on_commit(tasks.wake)  # it is embedded again
    if album is not None:
        values["album"] = _album_of(image, album)
    if visibility is not None:
        values["visibility"] = _checked_visibility(visibility)
    if metadata is not None:
        values["metadata"] = texts.metadata(metadata)
    # One UPDATE of these columns: save() would write back others that somebody just changed.
    if not Image.objects.filter(pk=image.pk).update(**values, changed_at=timezone.now()):
        raise Image.DoesNotExist
    if tags is not None:
        names = texts.tags(tags)
        Tag.objects.bulk_create([Tag(name=name) for name in names], ignore_conflicts=True)
        image.tags.set(Tag.objects.filter(name__in=names))


def _album_of(image: Image, name: str) -> Album | None:
    name = texts.line(name, name="album's name", longest=200)
    if not name:
        return None
    return Album.objects.get_or_create(owner_id=image.owner_id, name=name)[0]


def _checked_visibility(visibility: str) -> str:
    if visibility not in Visibility.values:
        raise ImageRefused("The visibility must be public or private.")
    return visibility
