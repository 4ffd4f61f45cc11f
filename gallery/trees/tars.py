"""Members of a tar file, read in place by where they begin; a packed one is unpacked once."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import re
import struct
import tarfile
import tempfile
import weakref
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from typing import IO, cast

from django.conf import settings

from gallery.importers import SourceUnreadable
from gallery.trees.members import PIECE_BYTES, Limits, Member, Register, folded, too_large

_MAX_HEADER_BYTES = 2**18  # a long name, or attributes of a file
_MAX_HEADER_READS = 10_000  # for one member
_LONG_NUMBER = re.compile(rb"[0-9]{100}")  # tarfile's own patterns take quadratic time on those
_XZ_MEMORY_BYTES = 2**28
_SMALL_BYTES = 50_000_000
# What tarfile lets through on hostile bytes.
_BROKEN = (
    tarfile.TarError,
    EOFError,
    LookupError,
    OverflowError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
)
# Called with the copy and the size that it is about to have. Raises SourceUnreadable.
MakeRoom = Callable[[IO[bytes], int], None]
_BROKEN_STREAM = (EOFError, ValueError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)


class Tar:
    """An open, unpacked tar file."""

    def __init__(self, file: IO[bytes], limits: Limits, *, copied_bytes: int = 0) -> None:
        """Read all headers. Raise SourceUnreadable."""
        self.file = file
        self.copied_bytes = copied_bytes
        self._limits = limits
        weakref.finalize(self, file.close)
        self._offset_by_key: dict[str, int] = {}
        self._register = Register(limits)
        file.seek(0)
        headers = _Headers(file)
        try:
            self._list(headers)
        except _BROKEN as error:
            reason = "too many nested headers" if isinstance(error, RecursionError) else error
            raise SourceUnreadable(f"The archive is cut short or damaged: {reason}.") from error
        self.by_key = self._register.by_key

    def version(self, member: Member) -> str:
        """Return its CRC, as a zip has it: tars are made with the same times for all on purpose."""
        if member.size > self._limits.most_of(member.path):
            return member.version
        crc = 0
        try:
            with self.open(member) as file:
                while piece := file.read(PIECE_BYTES):
                    crc = zlib.crc32(piece, crc)
        except OSError:
            return member.version  # it fails when it is opened, with its reason
        return f"{crc:08x}:{member.size}"

    def open(self, member: Member) -> IO[bytes]:
        section = _Section(self, self._offset_by_key[member.key], member.size)
        return cast("IO[bytes]", io.BufferedReader(section, PIECE_BYTES // 4))

    def read(self, member: Member, size: int) -> bytes:
        with self.open(member) as file:
            return file.read(size)

    def _list(self, headers: _Headers) -> None:
        tar = tarfile.TarFile(
            fileobj=cast("IO[bytes]", headers),
            mode="r",
            encoding="utf-8",
            errors="surrogateescape",
        )
        offset = -1
        while (info := tar.next()) is not None:
            if info.offset <= offset or info.size < 0:
                raise tarfile.ReadError("a member lies before its forerunner")
            offset = info.offset
            self._register.count()
            self._add(info)
            headers.reads = 0
            tar.members = []  # type: ignore[attr-defined]  # else it keeps them all
            tar.pax_headers = {}
        headers.check_end(tar.offset)

    def _add(self, info: tarfile.TarInfo) -> None:
        if info.isdir():
            return
        skip = ""
        if info.issparse():
            skip = "A sparse file in the archive is not read: unpack it and import the folder."
        elif not info.isreg():
            skip = "A link or device in the archive is not followed."
        member = Member(
            path=folded(info.name),
            key="",
            size=info.size,
            version=f"{info.size}:{info.mtime}",
            skip=skip,
        )
        self._offset_by_key[self._register.add(info.name, member)] = info.offset_data


def unpacked(file: IO[bytes], packing: str, limits: Limits, make_room: MakeRoom) -> Tar:
    """Return a tar file that was packed as `gz`, `bz2` or `xz`, by a nameless copy on disk.

    A packed stream has no way to a member but through all before it. Raise SourceUnreadable.
    """
    with ExitStack() as undo:
        copy = cast(
            "IO[bytes]",
            undo.enter_context(tempfile.TemporaryFile(dir=settings.FILE_UPLOAD_TEMP_DIR)),
        )
        size = _unpack(file, packing, copy, limits, make_room)
        tar = Tar(copy, limits, copied_bytes=size)
        undo.pop_all()
    return tar


def _unpack(
    file: IO[bytes], packing: str, copy: IO[bytes], limits: Limits, make_room: MakeRoom
) -> int:
    """Unpack the file; return how many bytes it has then."""
    size = 0
    try:
        with _stream(file, packing) as stream:
            while piece := stream.read(PIECE_BYTES):
                size += len(piece)
                if size > limits.total_bytes:
                    raise SourceUnreadable(too_large(limits))
                if size > _SMALL_BYTES and size > limits.ratio * file.tell():
                    raise SourceUnreadable(
                        f"The archive unpacks to more than {limits.ratio} times its size, as bombs "
                        "do (ARCHIVE_MAX_RATIO): nothing of it is taken."
                    )
                make_room(copy, size)
                copy.write(piece)
        copy.flush()
    except _BROKEN_STREAM as error:
        raise SourceUnreadable(f"The archive is cut short or damaged: {error}.") from error
    except OSError as error:
        # bz2 says so, too, of damaged bytes: then without a number.
        reason = error.strerror if error.errno else f"it is damaged: {error}"
        raise SourceUnreadable(f"The archive cannot be unpacked: {reason}.") from error
    return size


def _stream(file: IO[bytes], packing: str) -> IO[bytes]:
    if packing == "gz":
        return cast("IO[bytes]", gzip.GzipFile(fileobj=file, mode="rb"))
    if packing == "bz2":
        return cast("IO[bytes]", bz2.BZ2File(file))
    return cast("IO[bytes]", io.BufferedReader(_Xz(file), PIECE_BYTES))


class _Xz(io.RawIOBase):
    """An xz stream that cannot ask for gigabytes of memory, as those of `lzma.open` can."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._decompressor = self._new()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while True:
            if self._decompressor.eof:
                rest = self._decompressor.unused_data.lstrip(b"\0") or self._next()
                if not rest:
                    return 0
                self._decompressor = self._new()
                piece = self._decompressor.decompress(rest, len(buffer))
            elif self._decompressor.needs_input:
                packed = self._file.read(PIECE_BYTES)
                if not packed:
                    raise EOFError("it ends in the middle")
                piece = self._decompressor.decompress(packed, len(buffer))
            else:
                piece = self._decompressor.decompress(b"", len(buffer))
            if piece:
                buffer[: len(piece)] = piece
                return len(piece)

    def _next(self) -> bytes:
        """Return what follows after a stream's end and its padding."""
        while packed := self._file.read(PIECE_BYTES):
            if rest := packed.lstrip(b"\0"):
                return rest
        return b""

    @staticmethod
    def _new() -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY_BYTES)


class _Headers:
    """The file as tarfile reads headers from it: none that is long enough to do harm."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.reads = 0  # since the last member

    def read(self, size: int = -1) -> bytes:
        self.reads += 1
        if not 0 <= size <= _MAX_HEADER_BYTES or self.reads > _MAX_HEADER_READS:
            raise tarfile.ReadError("a header is too long")
        content = self._file.read(size)
        if size > tarfile.BLOCKSIZE and _LONG_NUMBER.search(content):
            raise tarfile.ReadError("a header holds no number that could be one")
        return content

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def check_end(self, offset: int) -> None:
        """Raise ReadError where something stands that tarfile has taken for the end."""
        self._file.seek(offset)
        block = self._file.read(tarfile.BLOCKSIZE)
        if block.strip(b"\0"):
            raise tarfile.ReadError(f"no header at byte {offset:,}")


class _Section(io.RawIOBase):
    """A part of a file. Others may read the file at the same time."""

    def __init__(self, tar: Tar, begin: int, size: int) -> None:
        self._tar = tar  # kept, so that its file stays open
        self._begin, self._size = begin, size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        wanted = min(len(buffer), max(0, self._size - self._at))
        piece = os.pread(self._tar.file.fileno(), wanted, self._begin + self._at)
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError("negative seek position")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at
