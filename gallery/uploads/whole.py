"""Files that came whole, in a form: the way in for a browser without script."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from django.core.files.base import File
from django.utils import timezone

from gallery.descriptions import Description
from gallery.duplicates import LikeAnother, likeness
from gallery.errors import ImageRefused
from gallery.ingest import Added, NewImage
from gallery.models import OnDuplicates, Upload, UploadSession, UploadState
from gallery.uploads.descriptions import clean_path
from gallery.videos.intake import add_sent_file


def take_in(session: UploadSession, files: Iterable[File[bytes]], duplicates: OnDuplicates) -> None:
    """Add every file, one after the other; the session then says what became of each."""
    said = Description.from_json(session.about)
    for file in files:
        new = NewImage(
            **{name: getattr(said, name) for name in said.__dataclass_fields__},
            file=file,
            owner=session.owner,
            original_name=file.name or "",
        )
        try:
            added = add_sent_file(new, note=partial(_record_image, session, file, duplicates))
        except ImageRefused as refusal:
            like = refusal.image if isinstance(refusal, LikeAnother) else None
            became = {"state": UploadState.REFUSED, "reason": str(refusal), "like": like}
            _record(session, file, duplicates, **became)
            continue
        found = likeness.note_of(added)
        if found is not None:
            session.uploads.filter(image=added.image, state=UploadState.NEW).update(
                reason=found.text, like=found.image
            )


def _record_image(
    session: UploadSession, file: File[bytes], duplicates: OnDuplicates, added: Added
) -> None:
    likeness.check(added, duplicates)
    state = UploadState.NEW if added.is_new else UploadState.HELD
    _record(session, file, duplicates, state=state, image=added.image)


def _record(
    session: UploadSession, file: File[bytes], duplicates: OnDuplicates, **became: object
) -> None:
    size = file.size or 0
    Upload.objects.create(
        session=session,
        owner=session.owner,
        path=clean_path(file.name or ""),
        duplicates=duplicates,
        bytes=size,
        received=size,
        expires_at=timezone.now(),
        **became,
    )
