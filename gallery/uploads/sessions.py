"""Many files sent together: where they stand, and which of them are here already."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from django.contrib.auth.base_user import AbstractBaseUser
from django.db.models import Count, Q, Sum
from django.utils import timezone

from gallery.descriptions import Description
from gallery.models import FolderUse, OnDuplicates, State, Upload, UploadSession, UploadState
from gallery.uploads import parts
from gallery.uploads.errors import UploadMissing


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How many files of a session are how far."""

    expected: int
    arriving: int
    new: int
    held: int
    refused: int
    alike: int  # of the refused: what shows what an image of the owner's shows
    expired: int
    waiting: int  # images that have no vector yet
    ready: int
    failed: int
    removed: int  # images that were deleted meanwhile
    bytes: int

    @property
    def total(self) -> int:
        return self.arriving + self.stored + self.refused + self.expired

    @property
    def stored(self) -> int:
        return self.new + self.held

    @property
    def faulty(self) -> int:
        """Files that were refused for what they are."""
        return self.refused - self.alike

    @property
    def images(self) -> int:
        return self.waiting + self.ready + self.failed

    @property
    def unsent(self) -> int:
        """Files that were announced and of which not a byte was begun."""
        return max(0, self.expected - self.total)


def start(
    owner: AbstractBaseUser, about: Description, *, folders: str = FolderUse.NOTHING, files: int = 0
) -> UploadSession:
    """Return a session for so many files, of which `about` is said."""
    return UploadSession.objects.create(
        owner_id=owner.pk, about=about.to_json(), folders=folders, expected=files
    )


def find(owner: AbstractBaseUser, id_: uuid.UUID) -> UploadSession:
    """Return a session of this user, or raise UploadMissing."""
    session = UploadSession.objects.filter(owner_id=owner.pk, uuid=id_).first()
    if session is None:
        raise UploadMissing("There is no such upload session, or it is not yours.")
    return session


def announce(session: UploadSession, files: int) -> None:
    """Note that so many further files are about to be sent."""
    session.expected = session.uploads.count() + files
    session.save(update_fields=["expected"])


def on_duplicates(session: UploadSession) -> str:
    """Return what its sender wanted done with what he has already; "" where no file tells.

    What was stored although it is like another tells nothing: its sender may have said so of that
    file alone.
    """
    stored_all_the_same = Q(duplicates=OnDuplicates.NOTE, like__isnull=False)
    latest = session.uploads.exclude(stored_all_the_same).order_by("-pk")
    return latest.values_list("duplicates", flat=True).first() or ""


def counts(session: UploadSession) -> Counts:
    by_state = {f"uploads_{state}": Count("pk", Q(state=state)) for state in UploadState.values}
    by_image = {f"images_{state}": Count("pk", Q(image__state=state)) for state in State.values}
    ended_well = Q(state__in=(UploadState.NEW, UploadState.HELD))
    found = session.uploads.aggregate(
        **by_state,
        **by_image,
        removed=Count("pk", ended_well & Q(image=None)),
        alike=Count("pk", Q(state=UploadState.REFUSED, like__isnull=False)),
        received_bytes=Sum("received", default=0),
    )
    return Counts(
        expected=session.expected,
        removed=found["removed"],
        alike=found["alike"],
        bytes=found["received_bytes"],
        **{state: found[f"uploads_{state}"] for state in UploadState.values},
        **{state: found[f"images_{state}"] for state in State.values},
    )


def known(
    owner: AbstractBaseUser, fingerprints: Iterable[str], session: UploadSession | None = None
) -> dict[str, Upload]:
    """Return uploads of the same files by fingerprint: stored ones, and ones to go on with.

    Only of one session, or of none: on the way from another camera or disk a file of the same
    path, size and time may have other bytes.
    """
    uploads = Upload.objects.filter(
        owner_id=owner.pk, session=session, fingerprint__in=set(fingerprints) - {""}
    )
    is_stored = Q(image__isnull=False)
    is_open = Q(state=UploadState.ARRIVING, expires_at__gt=timezone.now())
    found = uploads.filter(is_stored | is_open).select_related("image", "like").order_by("pk")
    # A stored one goes before one that was begun again.
    return {
        upload.fingerprint: upload for upload in sorted(found, key=lambda one: bool(one.image_id))
    }


def discard_unfinished(session: UploadSession) -> int:
    """Forget what has arrived of unfinished files, and that others were announced."""
    arriving = session.uploads.filter(state=UploadState.ARRIVING)
    ids = list(arriving.values_list("uuid", flat=True))
    arriving.delete()
    for id_ in ids:
        parts.delete(id_)
    announce(session, 0)
    return len(ids)
