"""The bytes of unfinished uploads: one private file each, below UPLOAD_DIR.

File names are made of the uploads' own ids and of nothing that a sender says.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from django.conf import settings

from gallery.errors import StorageUnavailable
from gallery.uploads.errors import PartsLost

LOST = "What had arrived of this file is gone. Send it again from its beginning."


def path_of(id_: uuid.UUID) -> Path:
    return Path(settings.UPLOAD_DIR) / id_.hex[:2] / id_.hex


def write(id_: uuid.UUID, offset: int, piece: bytes) -> None:
    """Put a piece at its place, and onto the disk: what is acknowledged outlives a power cut.

    Bytes that a broken attempt left behind `offset` are written over. Raise PartsLost if bytes
    before it are missing, StorageUnavailable if the disk does not take the piece.
    """
    path = path_of(id_)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(number, "r+b") as file:
            if os.fstat(number).st_size < offset:
                # Another disk than last time, or a cleaned one. Going on would leave a hole.
                raise PartsLost(LOST)
            file.seek(offset)
            file.write(piece)
            file.flush()
            os.fsync(number)
    except OSError as error:
        raise StorageUnavailable(f"The file cannot be kept: {error.strerror}.") from error


def open_whole(id_: uuid.UUID, size: int) -> IO[bytes]:
    """Open what has arrived; raise PartsLost if it is not as long as it should be."""
    path = path_of(id_)
    try:
        if size == 0:
            write(id_, 0, b"")
        file = path.open("r+b")
    except FileNotFoundError as error:
        raise PartsLost(LOST) from error
    except OSError as error:
        raise StorageUnavailable(f"The file cannot be read: {error.strerror}.") from error
    if os.fstat(file.fileno()).st_size < size:
        file.close()
        raise PartsLost(LOST)
    file.truncate(size)
    return file


def delete(id_: uuid.UUID) -> None:
    path_of(id_).unlink(missing_ok=True)


def older_than(seconds: float) -> Iterator[uuid.UUID]:
    """Yield the ids of files that nobody has written to for so long."""
    limit = time.time() - seconds
    for path in Path(settings.UPLOAD_DIR).glob("??/*"):
        try:
            if path.stat().st_mtime < limit:
                yield uuid.UUID(path.name)
        except (FileNotFoundError, ValueError):
            continue  # finished meanwhile, or not ours
