"""The end of an upload: an image of it, a sentence why not, or nobody who went on with it."""

from __future__ import annotations

import logging
from datetime import timedelta
from functools import partial
from typing import IO

from django.conf import settings
from django.db.models import F
from django.utils import timezone

from gallery.descriptions import Description
from gallery.duplicates import likeness
from gallery.errors import ImageRefused, StorageUnavailable
from gallery.ingest import Added, NewImage, add_image
from gallery.models import Image, Upload, UploadSession, UploadState
from gallery.uploads import parts
from gallery.uploads.errors import UploadGone

MAX_ATTEMPTS = 5
# A request that is about to make the image has this long before a worker does it in its place.
FINISH_AFTER = timedelta(minutes=2)
KEEP_SESSIONS = timedelta(days=30)
_AT_ONCE = 500

log = logging.getLogger(__name__)


def finish(upload: Upload) -> None:
    """Make the image of an upload whose every byte is here; again it changes nothing.

    `upload` then says what became of it. Raise StorageUnavailable, with the upload as it was, where
    the files cannot be written now.
    """
    unfinished = Upload.objects.filter(pk=upload.pk, state=UploadState.ARRIVING)
    # Counted before, because a file may take the whole process with it.
    if unfinished.filter(received=F("bytes")).update(attempts=F("attempts") + 1):
        upload.refresh_from_db()
        if upload.attempts > MAX_ATTEMPTS:
            _end(upload, UploadState.REFUSED, "The server broke off each time it read this file.")
        else:
            _make_image(upload)
    upload.refresh_from_db()


def finish_left_behind() -> int:
    """Finish what arrived, but whose request died before the image was made. Return how many."""
    left = Upload.objects.filter(
        state=UploadState.ARRIVING,
        received=F("bytes"),
        changed_at__lt=timezone.now() - FINISH_AFTER,
    )
    done = 0
    for upload in left[:_AT_ONCE]:
        try:
            finish(upload)
        except StorageUnavailable as error:
            log.warning("The upload %s waits: %s", upload.uuid, error)
        else:
            done += 1
    return done


def expire() -> int:
    """Remove what nobody went on with, and what nobody asks for any more. Return how many."""
    late = Upload.objects.filter(state=UploadState.ARRIVING, expires_at__lt=timezone.now())
    expired = 0
    for upload in late.exclude(received=F("bytes"))[:_AT_ONCE]:
        expired += _end(upload, UploadState.EXPIRED, "It was not sent to its end in time.")
    old = timezone.now() - KEEP_SESSIONS
    Upload.objects.exclude(state=UploadState.ARRIVING).filter(changed_at__lt=old).delete()
    UploadSession.objects.filter(created_at__lt=old, uploads=None).delete()
    return expired + _delete_strays()


def _make_image(upload: Upload) -> None:
    try:
        with parts.open_whole(upload.uuid, upload.bytes) as file:
            added = add_image(_new_image(upload, file), note=partial(_note, upload))
    except ImageRefused as refusal:
        _end(upload, UploadState.REFUSED, str(refusal))
    except UploadGone as error:
        _end(upload, UploadState.EXPIRED, str(error))
    except StorageUnavailable:
        # No fault of the file's, so no try of it.
        Upload.objects.filter(pk=upload.pk).update(attempts=F("attempts") - 1)
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
    state = UploadState.NEW if added.is_new else UploadState.HELD
    _end_row(upload, state, image=added.image)


def _say_what_it_is_like(upload: Upload, added: Added) -> None:
    """After the commit: whatever goes wrong here, the image stays."""
    found = likeness.note_of(added)
    if found is not None:
        ended = Upload.objects.filter(pk=upload.pk, state=UploadState.NEW)
        ended.update(reason=found.text, like=found.image)


def _end(upload: Upload, state: UploadState, reason: str) -> bool:
    """End an upload without an image; return whether it was us who did."""
    is_ended = _end_row(upload, state, reason=reason)
    if is_ended:
        parts.delete(upload.uuid)
    return is_ended


def _end_row(
    upload: Upload, state: UploadState, *, reason: str = "", image: Image | None = None
) -> bool:
    """Whoever is first decides: two requests may finish one upload at once."""
    unfinished = Upload.objects.filter(pk=upload.pk, state=UploadState.ARRIVING)
    # `received` too: an upload must not expire between the moment we looked and a new part.
    return bool(
        unfinished.filter(received=upload.received).update(
            state=state, reason=reason, image=image, about={}, changed_at=timezone.now()
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
