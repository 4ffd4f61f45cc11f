"""The body of an answer, received into a file: never more, and never more slowly, than agreed."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from tempfile import SpooledTemporaryFile
from typing import IO

from django.template.defaultfilters import filesizeformat

from gallery.downloads.errors import DownloadFailed
from gallery.downloads.limits import Limits

IN_MEMORY_BYTES = 2**20  # of one file; what is larger goes to the disk
_PIECE_BYTES = 2**16
_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32


def received(
    pieces: Iterable[bytes], *, encoding: str, length: int | None, most_bytes: int, limits: Limits
) -> IO[bytes]:
    """Return all the pieces as a file, at its start. Raise DownloadFailed where they break a rule.

    `length` is what the server announced; whoever reads the pieces compares it.
    """
    if length is not None and length > most_bytes:
        raise _too_large(most_bytes)
    with ExitStack() as undo:
        file = undo.enter_context(SpooledTemporaryFile(max_size=IN_MEMORY_BYTES))
        size = 0
        for piece in decoded(_not_too_slow(pieces, limits), encoding):
            size += len(piece)
            if size > most_bytes:
                raise _too_large(most_bytes)
            file.write(piece)
        if not size:
            raise DownloadFailed("The server sent an empty file.")
        file.seek(0)
        undo.pop_all()  # the caller closes it
    return file


def decoded(pieces: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """Yield the body itself in small pieces, so that a bomb can be left at any of them."""
    if encoding in ("", "identity"):
        yield from pieces
    elif encoding in ("gzip", "x-gzip", "deflate"):
        try:
            yield from _unzipped(pieces)
        except zlib.error as error:
            raise DownloadFailed("The server sent a compressed file that is broken.") from error
    else:
        # Nobody asked for it: we accept no encoding at all.
        raise DownloadFailed(f"The server sent the file in an encoding of its own: {encoding!r}.")


def _unzipped(pieces: Iterable[bytes]) -> Iterator[bytes]:
    zipped = zlib.decompressobj(_GZIP_OR_ZLIB)
    for piece in pieces:
        rest = piece
        while rest:
            if zipped.eof:  # gzip may come in several parts, one after the other
                zipped = zlib.decompressobj(_GZIP_OR_ZLIB)
            out = zipped.decompress(rest, _PIECE_BYTES)
            yield out
            rest = zipped.unused_data if zipped.eof else zipped.unconsumed_tail
            while len(out) == _PIECE_BYTES and not rest and not zipped.eof:
                out = zipped.decompress(b"", _PIECE_BYTES)  # what did not fit into `out`
                yield out
    if not zipped.eof:
        raise DownloadFailed("The server sent only a part of the file.", may_pass=True)


def _not_too_slow(pieces: Iterable[bytes], limits: Limits) -> Iterator[bytes]:
    began = time.monotonic()
    size = 0
    for piece in pieces:
        size += len(piece)
        seconds = time.monotonic() - began
        if seconds > limits.silence_seconds and size < limits.slowest_bytes_per_second * seconds:
            raise DownloadFailed(
                f"The server sends too slowly: {size / seconds:,.0f} bytes a second.",
            )
        yield piece


def _too_large(most_bytes: int) -> DownloadFailed:
    return DownloadFailed(f"The file is larger than {filesizeformat(most_bytes)}.")
