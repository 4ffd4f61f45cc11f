"""The hash of what a storage or a place gives back."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable
from functools import partial
from typing import IO

from django.core.files.storage import Storage

from gallery.storage.clients import BucketUnavailable

PIECE_BYTES = 2**20
# What is said of one file; anything else is the machine's own lack, or a disk that is away.
_OF_ONE_FILE = {
    *(errno.ENOENT, errno.EACCES, errno.EPERM, errno.EIO),
    *(errno.EISDIR, errno.ENOTDIR, errno.ELOOP),
}


def sha256_in(storage: Storage, name: str) -> str:
    """Read a file to its end. Raise OSError."""
    with storage.open(name, "rb") as file:
        return _sha256_of(file)


def wrong_bytes(opened: Callable[[], IO[bytes]], sha256: str) -> str:
    """Read a file; return a sentence on what is wrong with it, "" for nothing.

    Raise OSError where that is not the file's own fault: it says nothing of its bytes.
    """
    try:
        with opened() as file:
            is_same = _sha256_of(file) == sha256
    except OSError as error:
        if not _is_of_one_file(error):
            raise
        return f"It cannot be read: {error.strerror or 'the storage failed'}."
    return "" if is_same else "Its bytes are not those that were taken in."


def _sha256_of(file: IO[bytes]) -> str:
    sha256 = hashlib.sha256()
    for piece in iter(partial(file.read, PIECE_BYTES), b""):
        sha256.update(piece)
    return sha256.hexdigest()


def _is_of_one_file(error: OSError) -> bool:
    if isinstance(error, BucketUnavailable):
        return error.is_refused
    return error.errno in _OF_ONE_FILE
