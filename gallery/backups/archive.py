"""A tar of plain files that is written and read in one direction, in constant memory.

Read by our own few lines instead of tarfile: that keeps every member in memory, follows headers of
any size, and knows links, devices and sparse files, none of which a backup has. What is written is
a tar for every program.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tarfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from gallery.backups.errors import BackupBroken, BackupNotMade

BLOCK = tarfile.BLOCKSIZE
PIECE_BYTES = 2**20
TRAILER = bytes(2 * BLOCK)  # two empty blocks end a tar
_SHORT_NAME = tarfile.LENGTH_NAME
NO_BACKUP = "is no backup of a gallery, or it is damaged"


@dataclass(frozen=True)
class Member:
    """A file in the archive: where its bytes begin, and how many they are."""

    name: str
    offset: int
    bytes: int

    @property
    def end(self) -> int:
        """Where the next member begins."""
        return self.offset + _padded(self.bytes)


class Sink(Protocol):
    """What an archive is written to: a file or a pipe."""

    def write(self, data: bytes, /) -> object: ...


class Writer:
    """Writes one member after another, and never goes back."""

    def __init__(self, out: Sink) -> None:
        self._out = out
        self._made_at = int(time.time())
        self.position = 0

    def add(self, name: str, content: bytes) -> str:
        """Write a member; return its sha256."""
        return self.add_stream(name, [content], len(content))

    def add_stream(self, name: str, pieces: Iterable[bytes], size: int) -> str:
        """Write a member of exactly `size` bytes; return its sha256.

        Raise BackupNotMade when it has more or less: its size stands before it already.
        """
        self._write(self._header(name, size))
        sha256 = hashlib.sha256()
        left = size
        for piece in pieces:
            left -= len(piece)
            if left < 0:
                break
            sha256.update(piece)
            self._write(piece)
        if left:
            raise BackupNotMade(f"{name} changed while it was read: make the backup again.")
        self._write(bytes(_padded(size) - size))
        return sha256.hexdigest()

    def finish(self) -> None:
        self._write(TRAILER)

    def _header(self, name: str, size: int) -> bytes:
        info = tarfile.TarInfo(name)
        info.size, info.mode, info.mtime = size, 0o600, self._made_at
        # One block in any case: GNU's form holds any size, the older one longer names.
        is_short = len(name.encode()) <= _SHORT_NAME
        try:
            header = info.tobuf(tarfile.GNU_FORMAT if is_short else tarfile.USTAR_FORMAT)
        except ValueError as error:
            raise BackupNotMade(f"The name {name!r} is too long for a tar.") from error
        return header

    def _write(self, data: bytes) -> None:
        self._out.write(data)
        self.position += len(data)


class Archive:
    """Reads members at their places. Several threads may, each its own."""

    def __init__(self, descriptor: int, size: int, path: Path) -> None:
        self._descriptor = descriptor
        self.size = size
        self.path = path

    def member_at(self, position: int) -> Member:
        """Return the member that begins at a position. Raise BackupBroken when none does."""
        header = self.bytes_at(position, BLOCK)
        try:
            info = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
        except (tarfile.HeaderError, UnicodeDecodeError, ValueError) as error:
            raise self.broken(NO_BACKUP) from error
        # Nothing but plain files: no link, no device, no header that enlarges another.
        if info.type != tarfile.REGTYPE or info.size < 0 or "\0" in info.name:
            raise self.broken("holds something that is no plain file")
        member = Member(info.name, position + BLOCK, info.size)
        if member.end > self.size:
            raise self.broken("is cut off")
        return member

    def read(self, member: Member, *, at_most: int) -> bytes:
        """Return all bytes of a small member. Raise BackupBroken when it is none."""
        if member.bytes > at_most:
            raise self.broken(f"says of {member.name!r} that it has {member.bytes:,} bytes")
        return self.bytes_at(member.offset, member.bytes)

    def pieces(self, member: Member) -> Iterator[bytes]:
        """Yield the bytes of a member."""
        position, end = member.offset, member.offset + member.bytes
        while position < end:
            piece = self.bytes_at(position, min(PIECE_BYTES, end - position))
            yield piece
            position += len(piece)

    def sha256_of(self, member: Member) -> str:
        sha256 = hashlib.sha256()
        for piece in self.pieces(member):
            sha256.update(piece)
        return sha256.hexdigest()

    def open(self, member: Member) -> IO[bytes]:
        """Return a member as a file to read."""
        return io.BufferedReader(_Slice(self, member), PIECE_BYTES)

    def bytes_at(self, position: int, n: int) -> bytes:
        """Return exactly n bytes. Raise BackupBroken at the end of the file."""
        found = os.pread(self._descriptor, n, position)
        while len(found) < n:
            more = os.pread(self._descriptor, n - len(found), position + len(found))
            if not more:
                raise self.broken("is cut off")
            found += more
        return found

    def broken(self, half_a_sentence: str) -> BackupBroken:
        return BackupBroken(f"{self.path} {half_a_sentence}.")


class _Slice(io.RawIOBase):
    """The bytes of a member, with a position of their own."""

    def __init__(self, archive: Archive, member: Member) -> None:
        super().__init__()
        self._archive = archive
        self._member = member
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._member.bytes}
        self._position = max(0, start[whence] + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: object, /) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]  # as io calls it
        n = max(0, min(len(view), self._member.bytes - self._position))
        view[:n] = self._archive.bytes_at(self._member.offset + self._position, n)
        self._position += n
        return n


@contextmanager
def opened(path: Path) -> Iterator[Archive]:
    """Open an archive to read. Raise BackupBroken for what is no file that can be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise BackupBroken(f"{path} cannot be read: {error.strerror}.") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise BackupBroken(f"{path} is no file.")
        yield Archive(descriptor, status.st_size, path)
    finally:
        os.close(descriptor)


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK
