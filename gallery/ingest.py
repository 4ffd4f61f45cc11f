"""The one way in: every image of the gallery has come through `add_image`."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import IO, Any

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.core.files.base import ContentFile, File
from django.core.files.storage import default_storage
from django.db import IntegrityError, transaction
from django.utils import timezone

from gallery import colours, inspection, spaces, tasks, texts, thumbnails
from gallery.errors import ImageRefused
from gallery.inspection import Inspected
from gallery.models import Album, Caption, Image, ImageEmbeddingJob, Tag, Visibility

MAX_CAPTION = 10_000
MAX_CAPTIONS = 20  # all of an image's texts share one full-text value, and Postgres bounds it

_SUFFIXES = {
    "image/jpeg": "jpg",
    "image/png": "png",
    "image/webp": "webp",
    "image/gif": "gif",
    "image/avif": "avif",
    "image/tiff": "tiff",
    "image/bmp": "bmp",
    "image/heic": "heic",
}
_PIECE_BYTES = 2**20


@dataclass(frozen=True, kw_only=True)
class NewImage:
    """A file that someone sends, and what they say about it. The file must be seekable."""

    file: IO[bytes]
    owner: AbstractBaseUser
    original_name: str = ""
    caption: str = ""
    tags: tuple[str, ...] = ()
    album: str = ""
    category: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    source_url: str = ""
    licence: str = ""
    attribution: str = ""
    visibility: str = ""  # empty: DEFAULT_VISIBILITY
    taken_at: datetime | None = None  # None: what EXIF says
    captions: tuple[tuple[str, str], ...] = ()  # further ones, as (source, text)


def add_image(new: NewImage) -> tuple[Image, bool]:
    """Store an image and queue its embedding; return its row and whether it is new.

    Bytes the owner already has give back their own row, unchanged. Raise ImageRefused, with
    nothing stored, for what is not taken. Files are written before the row is: in a transaction
    of the caller's that is rolled back later, they would stay behind.
    """
    new = _checked(new)
    inspection.check_size(new.file)
    sha256 = _sha256_of(new.file)
    held = _held(new.owner, sha256)
    if held is not None:
        return held, False

    inspected = inspection.open_image(new.file, edge=thumbnails.LARGE)
    with ExitStack() as undo:
        image = _described(new, inspected)
        image.sha256 = sha256
        _store_files(image, new.file, inspected, undo)
        try:
            _store_rows(image, new)
        except IntegrityError:
            # Someone else was first with the same bytes: theirs is the row, our files go.
            held = _held(new.owner, sha256)
            if held is None:
                raise
            return held, False
        undo.pop_all()
    return image, True


def _checked(new: NewImage) -> NewImage:
    visibility = new.visibility or settings.DEFAULT_VISIBILITY
    if visibility not in Visibility.values:
        raise ImageRefused("The visibility must be public or private.")
    if len(new.captions) > MAX_CAPTIONS:
        raise ImageRefused(f"An image has at most {MAX_CAPTIONS} further captions.")
    taken_at = new.taken_at
    if taken_at is not None and timezone.is_naive(taken_at):
        taken_at = timezone.make_aware(taken_at)
    return replace(
        new,
        original_name=texts.file_name(new.original_name),
        caption=texts.text(new.caption, name="caption", longest=MAX_CAPTION),
        tags=texts.tags(new.tags),
        album=texts.line(new.album, name="album's name", longest=200),
        category=texts.line(new.category, name="category", longest=100),
        metadata=texts.metadata(new.metadata),
        source_url=texts.http_url(new.source_url, longest=2000),
        licence=texts.line(new.licence, name="licence", longest=200),
        attribution=texts.line(new.attribution, name="attribution", longest=500),
        visibility=visibility,
        taken_at=taken_at,
        captions=tuple(_checked_caption(source, text) for source, text in new.captions),
    )


def _checked_caption(source: str, text: str) -> tuple[str, str]:
    source = texts.line(source, name="caption's source", longest=100)
    if not source:
        # "" is the source of the image's own caption.
        raise ImageRefused("A further caption must say where it is from.")
    return source, texts.text(text, name="caption", longest=MAX_CAPTION)


def _sha256_of(file: IO[bytes]) -> str:
    sha256 = hashlib.sha256()
    file.seek(0)
    while piece := file.read(_PIECE_BYTES):
        sha256.update(piece)
    return sha256.hexdigest()


def _held(owner: AbstractBaseUser, sha256: str) -> Image | None:
    return Image.objects.filter(owner_id=owner.pk, sha256=sha256).first()


def _described(new: NewImage, inspected: Inspected) -> Image:
    """Return the record, unsaved, without its files."""
    return Image(
        uuid=uuid.uuid4(),
        owner_id=new.owner.pk,
        original_name=new.original_name,
        mime_type=inspected.mime_type,
        width=inspected.width,
        height=inspected.height,
        taken_at=new.taken_at or inspected.exif.taken_at,
        camera=inspected.exif.camera,
        latitude=inspected.exif.latitude,
        longitude=inspected.exif.longitude,
        caption=new.caption,
        category=new.category,
        metadata=dict(new.metadata),
        source_url=new.source_url,
        licence=new.licence,
        attribution=new.attribution,
        visibility=new.visibility,
    )


def _store_files(image: Image, file: IO[bytes], inspected: Inspected, undo: ExitStack) -> None:
    """Store the file and its thumbnails; `undo` deletes them unless it is emptied."""
    large = thumbnails.resized(inspected.pixels, thumbnails.LARGE)
    image.colours = colours.dominant(large)
    image.bytes = inspection.check_size(file)
    # Names are ours alone; two letters of the uuid keep folders small.
    place = f"{image.uuid.hex[:2]}/{image.uuid}"

    def store(name: str, content: File[bytes]) -> str:
        undo.callback(default_storage.delete, name)  # before: a write may break off half-way
        return default_storage.save(name, content)

    original = f"images/{place}.{_SUFFIXES[inspected.mime_type]}"
    image.file = store(original, File(file))
    for field_name, edge in (
        ("thumbnail_large", thumbnails.LARGE),
        ("thumbnail_small", thumbnails.SMALL),
    ):
        content = ContentFile(thumbnails.make(large, edge))
        setattr(image, field_name, store(f"thumbnails/{place}-{edge}.webp", content))


@transaction.atomic
def _store_rows(image: Image, new: NewImage) -> None:
    if new.album:
        image.album, _ = Album.objects.get_or_create(owner_id=new.owner.pk, name=new.album)
    image.save(force_insert=True)
    if new.tags:
        # Sorted by _checked: two uploads that make the same tags wait for each other in turn,
        # and never in a circle.
        Tag.objects.bulk_create([Tag(name=name) for name in new.tags], ignore_conflicts=True)
        image.tags.set(Tag.objects.filter(name__in=new.tags))
    Caption.objects.bulk_create(
        [
            Caption(image=image, source=source, text=text)
            for source, text in dict.fromkeys(new.captions)
            if text
        ]
    )
    # A gallery without a space has no job yet: the reconcile step makes it. Captions are queued
    # by Postgres.
    ImageEmbeddingJob.objects.bulk_create(
        [ImageEmbeddingJob(image=image, space=space) for space in spaces.current()]
    )
    transaction.on_commit(tasks.wake)
