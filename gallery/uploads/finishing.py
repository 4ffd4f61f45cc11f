"""The end of an upload: an image of it, a sentence why not, or nobody who went on with it."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from functools import partial
from typing import IO

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection
from django.db.models import Exists, F, OuterRef, Q
from django.utils import timezone

from gallery.descriptions import Description
from gallery.duplicates import LikeAnother, likeness
from gallery.errors import ImageRefused, StorageUnavailable
from gallery.ingest import Added, NewImage
from gallery.models import Image, OnDuplicates, Upload, UploadSession, UploadState
from gallery.uploads import parts
from gallery.uploads.errors import UploadGone, UploadMissing
from gallery.uploads.receiving import CANCELLED
from gallery.videos.intake import VideosBusy, add_sent_file

MAX_ATTEMPTS = 5
# A request that is about to make the image has this long before a worker does it in its place.
FINISH_AFTER = timedelta(minutes=2)
KEEP_SESSIONS = timedelta(days=30)
_AT_ONCE = 500
# A worker begins no further one after so long, and goes on at the next tick: videos take minutes.
TENDED_SECONDS = 30.0
_FINISH_LOCK = 0x75706669  # "upfi": class of the advisory locks, one an upload

log = logging.getLogger(__name__)


def finish(upload: Upload) -> None:
    """Make the image of an upload whose every byte is here; again it changes nothing.

    `upload` then says what became of it. Raise StorageUnavailable, with the upload as it was, where
    the files cannot be written now, and UploadMissing where it was cancelled meanwhile. It stays
    unfinished while another process is at it, and a video while this one is at another.
    """
    with _alone(upload) as is_ours:
        if is_ours:
            _finish(upload)
    _read_again(upload)


def _finish(upload: Upload) -> None:
    unfinished = Upload.objects.filter(pk=upload.pk, state=UploadState.ARRIVING)
    # Counted before, because a file may take the whole process with it.
    if unfinished.filter(received=F("bytes")).update(attempts=F("attempts") + 1):
        _read_again(upload)
        if upload.attempts > MAX_ATTEMPTS:
            _end(upload, UploadState.REFUSED, "The server broke off each time it read this file.")
        else:
            _make_image(upload)


def _read_again(upload: Upload) -> None:
    try:
        upload.refresh_from_db()
    except Upload.DoesNotExist as error:
        raise UploadMissing(CANCELLED) from error


@contextmanager
def _alone(upload: Upload) -> Iterator[bool]:
    """Say whether nobody else finishes this upload; until the block ends nobody else does.

    A video takes so long that its sender may ask again meanwhile. Who has died holds no lock.
    """
    key = [_FINISH_LOCK, upload.pk % 2**31]
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", key)
        is_ours: bool = cursor.fetchone()[0]
    try:
        yield is_ours
    finally:
        if is_ours:
            # A connection that was lost has taken the lock with it.
            with suppress(InterfaceError, OperationalError), connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s, %s)", key)


def finish_left_behind() -> int:
    """Finish what arrived, but whose request died before the image was made. Return how many."""
    now = timezone.now()
    whole = Upload.objects.filter(state=UploadState.ARRIVING, received=F("bytes"))
    # What changes in the future was written before the clock was set back.
    left = whole.exclude(changed_at__range=(now - FINISH_AFTER, now + FINISH_AFTER))
    left = left.order_by("changed_at", "pk")
    done, ends_at = 0, time.monotonic() + TENDED_SECONDS
    for upload in left[:_AT_ONCE]:
        try:
            finish(upload)
        except StorageUnavailable as error:
            log.warning("The upload %s waits: %s", upload.uuid, error)
            # Behind the others, which it would keep waiting each time: it may take long to fail.
            Upload.objects.filter(pk=upload.pk).update(changed_at=timezone.now())
        except UploadMissing:
            continue  # it was cancelled meanwhile
        else:
            done += 1
        if time.monotonic() > ends_at:
            break
    return done


def expire() -> int:
    """Remove what nobody went on with, and what nobody asks for any more. Return how many."""
    late = Upload.objects.filter(state=UploadState.ARRIVING, expires_at__lt=timezone.now())
    expired = 0
    for upload in late.exclude(received=F("bytes"))[:_AT_ONCE]:
        expired += _end(upload, UploadState.EXPIRED, "It was not sent to its end in time.")
    _forget_old(timezone.now() - KEEP_SESSIONS)
    return expired + _delete_strays()


def _forget_old(old: datetime) -> None:
    ended = Upload.objects.exclude(state=UploadState.ARRIVING)
    ended.filter(session=None, changed_at__lt=old).delete()
    # A session goes as a whole: what is left of it would tell wrong numbers.
    is_recent = Q(state=UploadState.ARRIVING) | Q(changed_at__gte=old)
    recent = Upload.objects.filter(is_recent, session=OuterRef("pk"))
    UploadSession.objects.filter(~Exists(recent), created_at__lt=old).delete()


def _make_image(upload: Upload) -> None:
    try:
        with parts.open_whole(upload.uuid, upload.bytes) as file:
            added = add_sent_file(_new_image(upload, file), note=partial(_note, upload))
    except LikeAnother as refusal:
        _end(upload, UploadState.REFUSED, str(refusal), like=refusal.image)
    except ImageRefused as refusal:
        _end(upload, UploadState.REFUSED, str(refusal))
    except UploadGone as error:
        _end(upload, UploadState.EXPIRED, str(error))
    except StorageUnavailable as error:
        # No fault of the file's, so no try of it.
        Upload.objects.filter(pk=upload.pk).update(attempts=F("attempts") - 1)
        # All of it is here: its sender asks again, or a worker does it.
        if not isinstance(error, VideosBusy):
            raise
    else:
        parts.delete(upload.uuid)
        _say_what_it_is_like(upload, added)


def _new_image(upload: Upload, file: IO[bytes]) -> NewImage:
    said = Description.from_json(upload.about)
    if upload.session is not None:
        said = said.over(Description.from_json(upload.session.about))
    return NewImage(
        **{name: getattr(said, name) for name in said.__dataclass_fields__},
        file=file,
        owner=upload.owner,
        original_name=upload.name,
    )


def _note(upload: Upload, added: Added) -> None:
    likeness.check(added, OnDuplicates(upload.duplicates))
    state = UploadState.NEW if added.is_new else UploadState.HELD
    if _end_row(upload, state, image=added.image):
        return
    if not Upload.objects.filter(pk=upload.pk).exists():
        raise UploadGone(CANCELLED)  # so nothing of it is stored


def _say_what_it_is_like(upload: Upload, added: Added) -> None:
    """After the commit: whatever goes wrong here, the image stays."""
    found = likeness.note_of(added)
    if found is not None:
        ended = Upload.objects.filter(pk=upload.pk, state=UploadState.NEW)
        ended.update(reason=found.text, like=found.image)


def _end(upload: Upload, state: UploadState, reason: str, *, like: Image | None = None) -> bool:
    """End an upload without an image; return whether it was us who did."""
    is_ended = _end_row(upload, state, reason=reason, like=like)
    if is_ended:
        parts.delete(upload.uuid)
    return is_ended


def _end_row(
    upload: Upload,
    state: UploadState,
    *,
    reason: str = "",
    image: Image | None = None,
    like: Image | None = None,
) -> bool:
    """Whoever is first decides: two requests may finish one upload at once."""
    unfinished = Upload.objects.filter(pk=upload.pk, state=UploadState.ARRIVING)
    # `received` too: an upload must not expire between the moment we looked and a new part.
    return bool(
        unfinished.filter(received=upload.received).update(
            state=state, reason=reason, image=image, like=like, about={}, changed_at=timezone.now()
        )
    )


def _delete_strays() -> int:
    """Delete files whose upload is over: their process died between the row and the file."""
    old = parts.older_than(settings.UPLOAD_KEEP_HOURS * 3600)
    deleted = 0
    for id_ in old:
        if not Upload.objects.filter(uuid=id_, state=UploadState.ARRIVING).exists():
            parts.delete(id_)
            deleted += 1
    return deleted
