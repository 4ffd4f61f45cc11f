"""The one way in: every image of the gallery has come through `add_image`."""

from __future__ import annotations

import hashlib
import logging
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import IO, NamedTuple

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.core.files.base import ContentFile, File
from django.core.files.storage import default_storage
from django.db import IntegrityError, InterfaceError, OperationalError, transaction
from django.utils import timezone

from gallery import inspection, originals, spaces, tasks, texts, thumbnails
from gallery.decoding import decoders
from gallery.decoding.decoders import Studied
from gallery.descriptions import Description
from gallery.duplicates import verdicts
from gallery.errors import ImageRefused, StorageAway, StorageUnavailable
from gallery.interruptions import is_unsure
from gallery.models import (
    Album,
    Caption,
    DuplicateCheck,
    Image,
    ImageEmbeddingJob,
    ImportRun,
    Tag,
    Visibility,
)
from gallery.storage.clients import BucketUnavailable
from gallery.storage.originals import Original

logger = logging.getLogger(__name__)

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
class NewImage(Description):
    """A file that someone sends, and what they say about it. The file must be seekable.

    `original`: where it stays, when the gallery is to read it there and keep thumbnails alone.
    """

    file: IO[bytes]
    owner: AbstractBaseUser
    original_name: str = ""
    original: Original | None = None
    import_run: ImportRun | None = None  # that brings it, and may take back what it has made


class Added(NamedTuple):
    """What became of a file: its row, and whether that is new. Of a video, its first frame."""

    image: Image
    is_new: bool


def add_image(new: NewImage, *, note: Callable[[Added], None] = lambda _: None) -> Added:
    """Store an image and queue its embedding; return its row and whether it is new.

    Bytes the owner already has give back their own row, unchanged. Raise ImageRefused, with
    nothing stored, for what is not taken, and StorageUnavailable when the files cannot be written.
    Files are written before the row is: in a transaction of the caller's that is rolled back
    later, they would stay behind. `note` is called in the transaction that makes the row, so that
    what it writes is there if and only if the image is.
    """
    new = checked(new)
    inspection.check_size(new.file)
    sha256 = sha256_of(new.file)
    held = _held(new.owner, sha256)
    if held is not None:
        return _held_already(held, new, sha256, note)

    studied = decoders.study(new.file)
    with ExitStack() as undo:
        image = described(new, studied)
        image.sha256 = sha256
        image.pixel_sha256 = studied.pixel_sha256 or sha256
        store_files(image, new, studied, undo)
        try:
            with kept_if_unsure(undo):
                _store_rows(image, new, note, undo)
        except IntegrityError:
            # Someone else was first with the same bytes: theirs is the row, our files go.
            held = _held(new.owner, sha256)
            if held is None:
                raise
            return _held_already(held, new, sha256, note)
        undo.pop_all()  # in a transaction of the caller's nothing is committed yet
    return Added(image, is_new=True)


@contextmanager
def kept_if_unsure(undo: ExitStack) -> Iterator[None]:
    """Let the files stay where nobody knows whether their rows were committed in this block."""
    try:
        yield
    except (InterfaceError, OperationalError) as error:
        if is_unsure(error):
            # The commit may have come through. A file without a row costs space; a row without
            # its file would be an image that is lost.
            undo.pop_all()
        raise
    except (KeyboardInterrupt, SystemExit):
        # It may have come in the middle of the commit.
        undo.pop_all()
        raise


def look_at(new: NewImage) -> Image | None:
    """Say what `add_image` would do, and store nothing: the row that has these bytes already.

    None: it would be new. Raise ImageRefused as it would.
    """
    new = checked(new)
    inspection.check_size(new.file)
    held = _held(new.owner, sha256_of(new.file))
    if held is None:
        decoders.study(new.file)
    return held


def _held_already(image: Image, new: NewImage, sha256: str, note: Callable[[Added], None]) -> Added:
    added = Added(image, is_new=False)
    # What took the place of these bytes has others: what is said here is not of its file.
    if image.sha256 != sha256:
        note(added)
    elif new.original is not None:
        originals.follow(image, new.original)
        note(added)
    elif originals.is_lost(image):
        _keep_here(added, new, note)
    else:
        note(added)
    return added


def _keep_here(added: Added, new: NewImage, note: Callable[[Added], None]) -> None:
    """Store the bytes of an image whose original, in a place of others, is lost."""
    image = added.image
    with ExitStack() as undo:
        # Under a name that no other try has: if two send it at once, one takes its own away.
        own = uuid.uuid4()
        name = f"images/{own.hex[:2]}/{own}.{_SUFFIXES[image.mime_type]}"
        name = store_file(name, File(new.file), undo)
        with kept_if_unsure(undo), transaction.atomic():
            if originals.keep(image, name):
                transaction.on_commit(undo.pop_all)
            note(added)
        if image.file.name == name:
            undo.pop_all()  # in a transaction of the caller's nothing is committed yet


def checked(new: NewImage) -> NewImage:
    """Return it as a record can hold it; raise ImageRefused for what none can."""
    visibility = new.visibility or settings.DEFAULT_VISIBILITY
    if visibility not in Visibility.values:
        raise ImageRefused("The visibility must be public or private.")
    if len(new.captions) > MAX_CAPTIONS:
        raise ImageRefused(f"An image has at most {MAX_CAPTIONS} further captions.")
    if (new.latitude is None) != (new.longitude is None):
        raise ImageRefused("A place needs a latitude and a longitude.")
    # Written so that NaN is refused too.
    if not (abs(new.latitude or 0) <= 90 and abs(new.longitude or 0) <= 180):
        raise ImageRefused("There is no place of that latitude and longitude.")
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
        camera=texts.line(new.camera, name="camera", longest=200),
        captions=tuple(_checked_caption(source, text) for source, text in new.captions),
    )


def _checked_caption(source: str, text: str) -> tuple[str, str]:
    source = texts.line(source, name="caption's source", longest=100)
    if not source:
        # "" is the source of the image's own caption.
        raise ImageRefused("A further caption must say where it is from.")
    return source, texts.text(text, name="caption", longest=MAX_CAPTION)


def sha256_of(file: IO[bytes]) -> str:
    sha256 = hashlib.sha256()
    file.seek(0)
    while piece := file.read(_PIECE_BYTES):
        sha256.update(piece)
    return sha256.hexdigest()


def _held(owner: AbstractBaseUser, sha256: str) -> Image | None:
    held = Image.objects.filter(owner_id=owner.pk, sha256=sha256).first()
    # What its owner replaced by another image does not come back with the next import.
    return held or verdicts.replacement_of(owner.pk, sha256)


def described(new: NewImage, studied: Studied) -> Image:
    """Return the record, unsaved, without its files."""
    return Image(
        uuid=uuid.uuid4(),
        owner_id=new.owner.pk,
        original_name=new.original_name,
        mime_type=studied.mime_type,
        width=studied.width,
        height=studied.height,
        taken_at=new.taken_at or studied.exif.taken_at,
        camera=new.camera or studied.exif.camera,
        latitude=studied.exif.latitude if new.latitude is None else new.latitude,
        longitude=studied.exif.longitude if new.longitude is None else new.longitude,
        colours=studied.colours,
        perceptual_hash=studied.perceptual_hash,
        caption=new.caption,
        category=new.category,
        metadata=dict(new.metadata),
        source_url=new.source_url,
        licence=new.licence,
        attribution=new.attribution,
        visibility=new.visibility,
    )


def _discard(name: str) -> None:
    try:
        default_storage.delete(name)
    except OSError:
        # A storage that takes no file may not delete one either: that costs space, not truth.
        logger.warning("The file %s could not be removed; check_storage finds it later.", name)


def _why(error: OSError) -> str:
    # Its text may name a path of this machine, which is no stranger's business.
    return error.strerror or "the storage failed"


def store_files(image: Image, new: NewImage, studied: Studied, undo: ExitStack) -> None:
    """Store the file and its thumbnails; `undo` deletes them unless it is emptied."""
    image.bytes = inspection.check_size(new.file)
    # Names are ours alone; two letters of the uuid keep folders small.
    place = f"{image.uuid.hex[:2]}/{image.uuid}"
    if new.original is None:
        original = f"images/{place}.{_SUFFIXES[studied.mime_type]}"
        image.file = store_file(original, File(new.file), undo)
    image.thumbnail_large, image.thumbnail_small = (
        store_file(f"thumbnails/{place}-{edge}.webp", ContentFile(studied.thumbnails[edge]), undo)
        for edge in (thumbnails.LARGE, thumbnails.SMALL)
    )


def store_file(name: str, content: File[bytes], undo: ExitStack) -> str:
    """Store a file under a name of ours; `undo` deletes it unless it is emptied."""
    undo.callback(_discard, name)  # before: a write may break off half-way
    try:
        return default_storage.save(name, content)
    except OSError as error:
        is_away = isinstance(error, BucketUnavailable) and error.is_away
        kind = StorageAway if is_away else StorageUnavailable
        raise kind(f"The files cannot be stored: {_why(error)}.") from error


@transaction.atomic
def _store_rows(
    image: Image, new: NewImage, note: Callable[[Added], None], undo: ExitStack
) -> None:
    store_records([image], new)
    if new.original is not None:
        originals.refer(image, new.original)
    DuplicateCheck.objects.create(image=image)
    note(Added(image, is_new=True))
    settle(undo)


def store_records(images: Sequence[Image], new: NewImage) -> None:
    """Write the rows of images that one description is of, and queue their embedding."""
    if new.album:
        album, _ = Album.objects.get_or_create(
            owner_id=new.owner.pk, name=new.album, defaults={"made_by": new.import_run}
        )
        for image in images:
            image.album = album
    Image.objects.bulk_create(images)
    if new.tags:
        # Sorted by `checked`: two uploads that make the same tags wait for each other in turn,
        # and never in a circle.
        Tag.objects.bulk_create([Tag(name=name) for name in new.tags], ignore_conflicts=True)
        tag_ids = list(Tag.objects.filter(name__in=new.tags).values_list("pk", flat=True))
        through = Image.tags.through
        through.objects.bulk_create(
            [through(image_id=image.pk, tag_id=tag) for image in images for tag in tag_ids]
        )
    Caption.objects.bulk_create(
        [
            Caption(image=image, source=source, text=text)
            for image in images
            for source, text in dict.fromkeys(new.captions)
            if text
        ]
    )
    # A gallery without a space has no job yet: the reconcile step makes it. Captions are queued
    # by Postgres.
    ImageEmbeddingJob.objects.bulk_create(
        [
            ImageEmbeddingJob(image=image, space=space)
            for space in spaces.current()
            for image in images
        ]
    )


def settle(undo: ExitStack) -> None:
    """Have the files stay from the commit on, and the worker woken."""
    # First: from the commit on, no failure of what comes after it may take the files away.
    transaction.on_commit(undo.pop_all)
    transaction.on_commit(tasks.wake, robust=True)
