"""Archives and lists that people send for an import: kept while it may need them.

Each lies in a private folder of its own, whose name begins with its owner's number; the file itself
keeps a cleaned name, by which people know it.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import IO

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.utils import timezone

from gallery import disk_room, texts
from gallery.errors import StorageUnavailable
from gallery.importers import SourceUnreadable
from gallery.imports.errors import ImportInvalid, TooMuchSent
from gallery.imports.ledger import FINISHED
from gallery.models import ImportRun, ItemState, RunState

# Since it stands still, or has ended with failed items: these can be retried for so long.
KEEP = timedelta(days=7)
_PIECE_BYTES = 2**20


@dataclass(frozen=True)
class Sent:
    """A file that was sent, where it is now."""

    folder: str
    path: Path
    sha256: str


def keep(file: IO[bytes], name: str, owner: AbstractBaseUser) -> Sent:
    """Copy a file that was sent into a folder of its own.

    Raise ImportInvalid when it is empty or too large, TooMuchSent when its owner has too much here,
    StorageUnavailable when there is no room.
    """
    size = _size(file)
    folder = f"{owner.pk}-{uuid.uuid4().hex}"
    directory = settings.IMPORT_DIR / folder
    with ExitStack() as undo:
        undo.callback(remove, folder)
        try:
            settings.IMPORT_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)
            directory.mkdir(mode=0o700)
            path = directory / _safe(name)
            with path.open("xb") as kept:
                # First, so that whoever sends at the same moment counts it.
                kept.truncate(size)
                _check_quota(owner)
                disk_room.check(directory, size)
                sha256 = _copy(file, kept, directory)
        except OSError as error:
            raise StorageUnavailable(f"The file cannot be kept: {error.strerror}.") from error
        undo.pop_all()
    return Sent(folder, path, sha256)


def remove(folder: str) -> None:
    """Remove what was sent; nothing happens when it is gone already."""
    if folder:
        shutil.rmtree(settings.IMPORT_DIR / folder, ignore_errors=True)


def check(run: ImportRun) -> None:
    """Raise SourceUnreadable where what was sent for the run has been removed."""
    if run.upload and not (settings.IMPORT_DIR / run.upload).is_dir():
        raise SourceUnreadable(
            f"What was sent is kept for {KEEP.days} days and is gone: send it again."
        )


def most_items(run: ImportRun) -> int | None:
    """Return how many entries what was sent for the run may list; None where nothing was sent.

    A small file may stand for a list of any length, and each entry is a row.
    """
    return settings.IMPORT_UPLOAD_ITEMS if run.upload else None


def remove_old() -> int:
    """Remove what belongs to no run, or to one that ended long ago. Return how many."""
    removed = 0
    for directory in _directories():
        if not _is_needed(directory):
            remove(directory.name)
            removed += 1
    return removed


def _size(file: IO[bytes]) -> int:
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    if size > settings.IMPORT_UPLOAD_BYTES:
        limit = settings.IMPORT_UPLOAD_BYTES // 10**6
        raise ImportInvalid(f"The file is too large: at most {limit:,} MB may be sent.")
    if not size:
        raise ImportInvalid("The file is empty.")
    return size


def _check_quota(owner: AbstractBaseUser) -> None:
    size = 0
    for directory in _directories():
        if directory.name.startswith(f"{owner.pk}-"):
            with suppress(FileNotFoundError):  # removed meanwhile
                size += sum(file.stat().st_size for file in directory.iterdir())
    if size > settings.IMPORT_KEPT_BYTES:
        raise TooMuchSent(
            f"What you have sent would have {size / 1e6:,.0f} MB; "
            f"{settings.IMPORT_KEPT_BYTES / 1e6:,g} MB are kept. It is removed when its import has "
            f"ended, and after {KEEP.days} days where that has failed items or stands still."
        )


def _copy(file: IO[bytes], kept: IO[bytes], directory: Path) -> str:
    sha256 = hashlib.sha256()
    while piece := file.read(_PIECE_BYTES):
        disk_room.check_left(directory)  # others may be sending, too
        kept.write(piece)
        sha256.update(piece)
    return sha256.hexdigest()


def _safe(name: str) -> str:
    """Return a name that is fine in any folder, with the suffixes that tell what it is."""
    shown = texts.file_name(name).lstrip(".-")
    stem, dot, suffix = shown.partition(".")
    encoded = stem.encode()[:100].decode(errors="ignore")
    return f"{encoded or 'file'}{dot}{suffix[-40:]}"


def _directories() -> Iterator[Path]:
    with suppress(FileNotFoundError):
        yield from [entry for entry in settings.IMPORT_DIR.iterdir() if entry.is_dir()]


def _is_needed(directory: Path) -> bool:
    run = ImportRun.objects.filter(upload=directory.name).first()
    if run is None:
        # Its run may be just about to be written.
        return time.time() - directory.stat().st_mtime < timedelta(days=1).total_seconds()
    if run.state not in (*FINISHED, RunState.BROKEN, RunState.PAUSED):
        return True
    if run.state in FINISHED and not run.items.filter(state=ItemState.FAILED).exists():
        return False
    ended_at = run.finished_at or run.lease_until or run.created_at
    return timezone.now() - ended_at <= KEEP
