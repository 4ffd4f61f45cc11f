"""Members of a zip file, read in place."""

from __future__ import annotations

import stat
import struct
import weakref
import zipfile
import zlib
from contextlib import ExitStack
from typing import IO, cast

from gallery.importers import ItemUnreadable, SourceUnreadable
from gallery.trees.members import PIECE_BYTES, Limits, Member, Register, folded, spool

_BROKEN = (
    zipfile.BadZipFile,
    EOFError,
    IndexError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    ValueError,
    struct.error,
    zlib.error,
)
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)
_ENTRY = b"PK\x01\x02"
_BYTES_PER_ENTRY = 1024  # of the list of members; a usual one takes about 100
_SMALL_BYTES = 10_000_000  # below that no ratio is suspicious: it costs nobody anything
_LOCAL_HEADER_BYTES = 30
_UTF8, _ENCRYPTED = 0x800, 0x1


class Zip:
    """An open zip file."""

    copied_bytes = 0

    def __init__(self, file: IO[bytes], limits: Limits) -> None:
        """Read the list of members. Raise SourceUnreadable."""
        weakref.finalize(self, file.close)
        self._limits = limits
        guarded = _GuardedFile(file, limits)
        try:
            self._zip = zipfile.ZipFile(cast("IO[bytes]", guarded))
        except (*_BROKEN, OSError) as error:
            if isinstance(error, OSError) and error.errno:
                raise SourceUnreadable(f"The archive cannot be read: {error.strerror}.") from error
            raise SourceUnreadable(f"The archive is cut short or damaged: {error}.") from error
        guarded.is_listing = False
        self._check_overlaps()
        register = Register(limits)
        self._info_by_key: dict[str, zipfile.ZipInfo] = {}
        for info in self._zip.infolist():
            register.count()
            name = _name(info)
            if name.endswith(("/", "\\")):
                continue
            self._info_by_key[register.add(name, self._member(info, name))] = info
        self.by_key = register.by_key

    def version(self, member: Member) -> str:
        return member.version

    def open(self, member: Member) -> IO[bytes]:
        file = spool()
        with ExitStack() as undo:
            undo.callback(file.close)
            self._unpack(member, file)
            undo.pop_all()
        file.seek(0)
        return file

    def read(self, member: Member, size: int) -> bytes:
        if member.failure:
            raise ItemUnreadable(member.failure)
        try:
            with self._zip.open(self._info_by_key[member.key]) as packed:
                return packed.read(size)
        except (*_BROKEN, OSError) as error:
            raise _damaged(error) from error

    def _unpack(self, member: Member, file: IO[bytes]) -> None:
        if member.failure:
            raise ItemUnreadable(member.failure)
        size, most = 0, self._limits.most_of(member.path)
        try:
            # Read to the end: only there its CRC is compared.
            with self._zip.open(self._info_by_key[member.key]) as packed:
                while piece := packed.read(PIECE_BYTES):
                    size += len(piece)
                    if size > most:
                        raise ItemUnreadable(_too_large(size, most))
                    file.write(piece)
        except (*_BROKEN, OSError) as error:
            raise _damaged(error) from error

    def _member(self, info: zipfile.ZipInfo, name: str) -> Member:
        kind = stat.S_IFMT(info.external_attr >> 16)
        is_plain = kind in (0, stat.S_IFREG)
        return Member(
            path=folded(name),
            key="",
            size=info.file_size,
            version=f"{info.CRC:08x}:{info.file_size}",
            skip="" if is_plain else "A link or device in the archive is not followed.",
            failure=self._failure(info, self._limits.most_of(folded(name))),
        )

    def _failure(self, info: zipfile.ZipInfo, most: int) -> str:
        if info.flag_bits & _ENCRYPTED:
            return "It is encrypted: unpack the archive with its password and import the folder."
        if info.compress_type not in _METHODS:
            return (
                f"It is packed by a method that is not read ({info.compress_type}): "
                "unpack the archive and import the folder."
            )
        if info.file_size > most:
            return _too_large(info.file_size, most)
        ratio = info.file_size / max(1, info.compress_size)
        if info.file_size > _SMALL_BYTES and ratio > self._limits.ratio:
            return (
                f"It unpacks to {ratio:,.0f} times its size, as zip bombs do; "
                f"{self._limits.ratio} times are allowed (ARCHIVE_MAX_RATIO)."
            )
        return ""

    def _check_overlaps(self) -> None:
        """Members that share bytes unpack to far more than any ratio of one of them tells."""
        end = 0
        for info in sorted(self._zip.infolist(), key=lambda info: info.header_offset):
            if info.header_offset < end:
                raise SourceUnreadable(
                    "Members of the archive overlap, as in zip bombs: nothing of it is taken."
                )
            end = info.header_offset + _LOCAL_HEADER_BYTES + info.compress_size


class _GuardedFile:
    """A file whose list of members is not read into memory when it is too long."""

    def __init__(self, file: IO[bytes], limits: Limits) -> None:
        self._file, self._limits = file, limits
        self.is_listing = True

    def read(self, size: int = -1) -> bytes:
        if not self.is_listing:
            return self._file.read(size)
        most = self._limits.members * _BYTES_PER_ENTRY + 2**17
        if size > most:
            raise self._too_many()
        content = self._file.read(size if size >= 0 else most)
        if content.count(_ENTRY) > self._limits.members:
            raise self._too_many()
        return content

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True

    def _too_many(self) -> SourceUnreadable:
        return SourceUnreadable(
            f"The archive has more than {self._limits.members:,} members: split it, or raise "
            "ARCHIVE_MAX_MEMBERS."
        )


def _name(info: zipfile.ZipInfo) -> str:
    """Return the name as it was meant: many programs write UTF-8 without saying so."""
    name = info.orig_filename
    if info.flag_bits & _UTF8:
        return name
    try:
        return name.encode("cp437").decode()
    except UnicodeError:
        return name


def _too_large(size: int, most: int) -> str:
    return (
        f"It unpacks to {size / 1e6:,.1f} MB; at most {most / 1e6:,g} MB are taken "
        "(MAX_IMAGE_MEGABYTES, VIDEO_MAX_MEGABYTES)."
    )


def _damaged(error: Exception) -> Exception:
    """Return what to raise: a failure of the disk stays one."""
    if isinstance(error, OSError) and error.errno:
        return error
    return ItemUnreadable(f"It is damaged in the archive: {error}.")
