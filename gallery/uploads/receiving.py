"""Takes files in, part by part.

A part is written in pieces, each under the lock of its upload's row: two senders of one file take
turns, whoever comes second finds that more is here than he thinks, and a sender who stands still
holds nobody up.
"""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Protocol

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.db import connection, transaction
from django.db.models import Count, Sum
from django.utils import timezone

from gallery import disk_room
from gallery.models import Upload, UploadSession, UploadState
from gallery.uploads import parts
from gallery.uploads.descriptions import NewUpload, of_folders
from gallery.uploads.errors import (
    PartsLost,
    TooMuchUnfinished,
    UploadConflict,
    UploadGone,
    UploadInvalid,
    UploadMissing,
    UploadTooLarge,
)
from gallery.videos import limits

PIECE_BYTES = 2**20  # what a request holds in memory, and the most that is lost of a broken one
MAX_BYTES = 2**53  # past it JSON and browsers count wrongly, and no file is that long
_BEGIN_LOCK = 0x75706C64  # "upld": the advisory lock of whoever begins an upload

GONE = "This upload was not finished in time, and what had arrived was removed. Send it again."
CANCELLED = "This upload was cancelled."
ENDED = "This upload has ended; ask for it with GET to see what became of it."


class Body(Protocol):
    """What a request sends."""

    def read(self, size: int, /) -> bytes: ...


def begin(owner: AbstractBaseUser, new: NewUpload, session: UploadSession | None = None) -> Upload:
    """Return the row of a file that will be sent.

    Raise UploadTooLarge for a file that would not be taken as an image; its session keeps a row
    that says so. Raise TooMuchUnfinished where the owner has begun too much already, and
    StorageUnavailable where the disk would be full: the database may be on it too.
    """
    if not 0 <= new.size <= MAX_BYTES:
        raise UploadInvalid("Upload-Length must be the file's size in bytes.")
    upload = Upload(
        owner_id=owner.pk,
        session=session,
        path=new.path,
        bytes=new.size,
        fingerprint=new.fingerprint,
        about=_about(new, session),
        duplicates=new.duplicates,
        metadata=new.metadata,
        expires_at=_deadline(),
    )
    most = limits.most_bytes(new.path)
    if new.size > most:
        upload.reason = (
            f"The file has {new.size / 1e6:,.1f} MB; at most {most / 1e6:,g} MB are taken."
        )
        if session is not None:
            upload.state = UploadState.REFUSED
            with transaction.atomic():
                _save(upload)
        raise UploadTooLarge(upload.reason)
    with transaction.atomic():
        _wait_for_turn()
        _check_quota(owner, new.size)
        disk_room.check(settings.UPLOAD_DIR, new.size)
        _save(upload)
    return upload


def find(owner: AbstractBaseUser, id_: uuid.UUID) -> Upload:
    """Return an upload of this user, or raise UploadMissing."""
    uploads = Upload.objects.select_related("image", "like")
    upload = uploads.filter(owner_id=owner.pk, uuid=id_).first()
    if upload is None:
        raise UploadMissing("There is no such upload, or it is not yours.")
    if upload.state == UploadState.EXPIRED:
        raise UploadGone(GONE)
    return upload


def receive(upload: Upload, body: Body, *, offset: int, length: int) -> None:
    """Append a part, or as much of it as comes; `upload.received` says where that ends.

    Raise UploadConflict where `offset` is not the end of what is here, UploadTooLarge where the
    part reaches past the file's end, UploadGone where the upload has ended.
    """
    _check_offset(upload, offset)
    if length > upload.bytes - offset:
        raise UploadTooLarge(
            f"The part has {length:,} bytes, but only {upload.bytes - offset:,} are missing."
        )
    left = length
    while left and (piece := body.read(min(PIECE_BYTES, left))):
        try:
            _append(upload, offset, piece)
        except PartsLost:
            # Whoever asks is to hear the truth; unless another sender has begun anew meanwhile.
            lost = Upload.objects.filter(pk=upload.pk, state=UploadState.ARRIVING, received=offset)
            lost.update(received=0)
            raise
        offset += len(piece)
        left -= len(piece)


def cancel(upload: Upload) -> None:
    """Forget an upload and what has arrived of it. An image that was made of it stays."""
    Upload.objects.filter(pk=upload.pk).delete()
    parts.delete(upload.uuid)  # or the clock does, if we die here


@transaction.atomic
def _append(upload: Upload, offset: int, piece: bytes) -> None:
    locked = Upload.objects.select_for_update(no_key=True).filter(pk=upload.pk).first()
    if locked is None:
        raise UploadMissing(CANCELLED)
    if locked.state != UploadState.ARRIVING:
        raise UploadGone(GONE if locked.state == UploadState.EXPIRED else ENDED)
    _check_offset(locked, offset)
    parts.write(locked.uuid, offset, piece)
    upload.received = offset + len(piece)
    upload.expires_at = _deadline()
    upload.save(update_fields=["received", "expires_at", "changed_at"])


def _check_offset(upload: Upload, offset: int) -> None:
    if offset != upload.received:
        raise UploadConflict(
            f"Upload-Offset is {offset:,}, but {upload.received:,} bytes are here. "
            "Ask for the offset with HEAD and go on from there."
        )


def _about(new: NewUpload, session: UploadSession | None) -> dict[str, object]:
    """Return what is said of this file alone; what its session says is added at its end."""
    about = new.about
    if session is not None:
        about = about.over(of_folders(new.path, session.folders))
    return about.to_json()


def _save(upload: Upload) -> None:
    """Write the row; in its session it takes the place of one in which the same file failed.

    Else the session would count that file twice.
    """
    if upload.session is not None and upload.fingerprint:
        same = Upload.objects.filter(
            owner=upload.owner_id, session=upload.session, fingerprint=upload.fingerprint
        )
        same.filter(state__in=(UploadState.REFUSED, UploadState.EXPIRED)).delete()
    upload.save(force_insert=True)


def _wait_for_turn() -> None:
    """Hold back who else begins an upload until the transaction ends: each counts the others'."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_BEGIN_LOCK])


def _check_quota(owner: AbstractBaseUser, size: int) -> None:
    unfinished = Upload.objects.filter(owner_id=owner.pk, state=UploadState.ARRIVING)
    begun = unfinished.aggregate(files=Count("pk"), bytes=Sum("bytes", default=0))
    how = "Finish or cancel some of them, or wait: what nobody goes on with is removed."
    if begun["files"] >= settings.UPLOAD_UNFINISHED_FILES:
        raise TooMuchUnfinished(f"You have {begun['files']:,} unfinished uploads. {how}")
    if begun["bytes"] + size > settings.UPLOAD_UNFINISHED_BYTES:
        raise TooMuchUnfinished(
            f"Your unfinished uploads would have {(begun['bytes'] + size) / 1e6:,.0f} MB; "
            f"{settings.UPLOAD_UNFINISHED_BYTES / 1e6:,g} MB are allowed. {how}"
        )


def _deadline() -> datetime:
    return timezone.now() + timedelta(hours=settings.UPLOAD_KEEP_HOURS)
