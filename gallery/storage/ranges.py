"""A part of a stored file, read piece by piece: no more of it is fetched than is sent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, cast

from django.core.files.storage import Storage

from gallery.storage.bucket import BucketStorage
from gallery.storage.clients import told_as_os_errors

PIECE_BYTES = 2**16


def read_range(storage: Storage, name: str, first: int, last: int) -> Pieces:
    """Return the bytes from `first` to `last`, both included, in pieces.

    The file is opened here: raise FileNotFoundError, or another OSError. What breaks off later
    is raised where the pieces are read; a file that is shorter ends them early.
    """
    if isinstance(storage, BucketStorage):
        body = storage.open_range(name, first, last)
    else:
        body = cast("IO[bytes]", storage.open(name, "rb"))
        body.seek(first)
    return Pieces(body, last - first + 1)


class Pieces:
    """What is left of an open file's part. Closed at its end, or by who does not want it all."""

    def __init__(self, body: IO[bytes], left: int) -> None:
        self._body, self._left = body, left

    def __iter__(self) -> Iterator[bytes]:
        with told_as_os_errors("give a file"):
            while self._left > 0 and (piece := self._body.read(min(PIECE_BYTES, self._left))):
                self._left -= len(piece)
                yield piece
        self.close()

    def close(self) -> None:
        self._body.close()
