"""The hash of what a storage gives back."""

from __future__ import annotations

import hashlib
from functools import partial

from django.core.files.storage import Storage

PIECE_BYTES = 2**20


def sha256_in(storage: Storage, name: str) -> str:
    """Read a file to its end. Raise OSError."""
    sha256 = hashlib.sha256()
    with storage.open(name, "rb") as file:
        for piece in iter(partial(file.read, PIECE_BYTES), b""):
            sha256.update(piece)
    return sha256.hexdigest()
