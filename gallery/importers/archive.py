"""All image files in a zip or tar archive, as if it were unpacked into a folder."""

from __future__ import annotations

import logging
import os
import stat
import tarfile
import threading
import time
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import IO, ClassVar, cast

from django.conf import settings
from pydantic import Field, field_validator

from gallery import texts
from gallery.importers import Item, ItemUnreadable, Skipped, SourceUnreadable
from gallery.trees import names, takeout
from gallery.trees.listing import File, Tree
from gallery.trees.members import Limits, Member, Members
from gallery.trees.sidecars import MAX_BYTES
from gallery.trees.tars import MakeRoom, Tar, unpacked
from gallery.trees.zips import Zip

_PACKINGS = {b"\x1f\x8b": "gz", b"BZh": "bz2", b"\xfd7zXZ\0": "xz"}
_NOT_READ = {b"7z\xbc\xaf": "7z", b"Rar!": "RAR", b"\x28\xb5\x2f\xfd": "zstd"}
_ZIP = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")

# Open archives, so that threads and the turns of a worker do not list or unpack them anew.
_KEPT = 4
_KEPT_SECONDS = 900.0

_Identity = tuple[str, int, int, int, int]

log = logging.getLogger(__name__)


class Archive(Tree):
    """Image files in a zip or tar archive (also .tar.gz, .tar.bz2, .tar.xz)."""

    kind: ClassVar[str] = "archive"
    opens_slowly: ClassVar[bool] = True

    path: str = Field(description="the archive")

    @field_validator("path")
    @classmethod
    def is_absolute(cls, path: str) -> str:
        if not path or "\0" in path:
            raise ValueError("it is no path")
        return os.path.abspath(path)  # noqa: PTH100 - `Path.absolute` keeps ".."

    @property
    def title(self) -> str:
        return self.path

    def items(self) -> Iterator[Item | Skipped]:
        members = open_archives.get(self.path)
        by_folder: dict[str, list[Member]] = {}
        for member in members.by_key.values():
            folder, _, name = member.path.rpartition("/")
            if name and not any(map(names.is_hidden, folder.split("/"))):
                by_folder.setdefault(folder, []).append(member)
        for folder in _albums_first(by_folder):
            yield from self.items_of(_Box(folder, by_folder[folder], members))

    def open(self, key: str) -> IO[bytes]:
        members = open_archives.get(self.path)
        if key not in members.by_key:
            raise ItemUnreadable("It is not in the archive any more.")
        return members.open(members.by_key[key])


class _Box:
    """One folder of an archive."""

    def __init__(self, path: str, inside: list[Member], members: Members) -> None:
        self.path = path
        self.files = sorted(File(member.path.rpartition("/")[2], member.key) for member in inside)
        self._members = members
        self._key_by_name = dict(self.files)

    def size(self, file: File) -> int:
        return self._members.by_key[file.key].size

    def version(self, file: File) -> str:
        member = self._members.by_key[file.key]
        if member.skip:
            raise ItemUnreadable(member.skip)
        return self._members.version(member)

    def read(self, name: str) -> bytes:
        member = self._members.by_key[self._key_by_name[name]]
        if member.skip:
            raise ItemUnreadable(member.skip)
        return self._members.read(member, MAX_BYTES + 1)


class _OpenArchives:
    """The archives that were read last, each opened once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[_Identity, Members] = OrderedDict()
        self._used_at = 0.0
        self._timer: threading.Timer | None = None

    def get(self, path: str) -> Members:
        """Return an archive. Raise SourceUnreadable."""
        with self._lock:
            identity = _identity(path)
            if identity not in self._kept:
                self._kept[identity] = _open_archive(path, self._make_room)
            self._kept.move_to_end(identity)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
            self._used_at = time.monotonic()
            if self._timer is None:
                self._look_later()
            return self._kept[identity]

    def forget(self) -> None:
        """Let go of all; what is being read stays open until it is read."""
        with self._lock:
            self._kept.clear()

    def _make_room(self, copy: IO[bytes], size: int) -> None:
        """Let go of other copies, so that all have no more than one may, and the disk has room."""
        copies = [one for one, members in self._kept.items() if members.copied_bytes]
        others = sum(self._kept[one].copied_bytes for one in copies)
        while copies and (others + size > settings.ARCHIVE_MAX_BYTES or _is_full(copy)):
            others -= self._kept.pop(copies.pop(0)).copied_bytes
        if _is_full(copy):
            raise SourceUnreadable(
                f"The archive is packed, and unpacked it has more than {size / 1e9:,.1f} GB, for "
                "which the folder for temporary files (TMPDIR) has no room. Make room in it, or "
                "unpack the archive and import the folder."
            )

    def _look_later(self) -> None:
        self._timer = threading.Timer(_KEPT_SECONDS, self._forget_unused)
        self._timer.daemon = True
        self._timer.start()

    def _forget_unused(self) -> None:
        # An unpacked copy must not fill the disk of a worker that has nothing more to do.
        with self._lock:
            self._timer = None
            if time.monotonic() - self._used_at < _KEPT_SECONDS:
                self._look_later()
            else:
                self._kept.clear()


open_archives = _OpenArchives()


def _is_full(file: IO[bytes]) -> bool:
    """Whether the disk of a file has no more room than what is left to all else."""
    disk = os.fstatvfs(file.fileno())
    return disk.f_bavail * disk.f_frsize < settings.UPLOAD_FREE_BYTES


def _open_archive(path: str, make_room: MakeRoom) -> Members:
    try:
        # Without O_NONBLOCK a pipe in its place would be waited for, for ever.
        file: IO[bytes] = cast(
            "IO[bytes]", os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb")
        )
    except OSError as error:
        raise _missing(path, error.strerror) from error
    with ExitStack() as undo:
        undo.callback(file.close)
        members = _members(file, _limits(), make_room)
        undo.pop_all()
    return members


def _missing(path: str, why: str | None) -> SourceUnreadable:
    # Who has sent it need not know where it lies.
    log.warning("There is no archive %s: %s", path, why)
    return SourceUnreadable(f"There is no archive {texts.file_name(path)}: {why}.")


def _members(file: IO[bytes], limits: Limits, make_room: MakeRoom) -> Members:
    """Return what is in the file, whatever it is called. Raise SourceUnreadable."""
    head = file.read(tarfile.BLOCKSIZE)
    for magic, packing in _NOT_READ.items():
        if head.startswith(magic):
            raise SourceUnreadable(
                f"{packing} archives are not read: unpack it and import the folder."
            )
    for magic, packing in _PACKINGS.items():
        if head.startswith(magic):
            file.seek(0)
            tar = unpacked(file, packing, limits, make_room)
            file.close()
            return tar
    is_zip = head.startswith(_ZIP)
    if not is_zip and head[257:262] == b"ustar":
        return Tar(file, limits)
    if is_zip or zipfile.is_zipfile(file):  # one may begin with a program that unpacks it
        return Zip(file, limits)
    if not _is_old_tar(head):
        raise SourceUnreadable("It is no zip or tar archive, or its beginning is damaged.")
    return Tar(file, limits)


def _is_old_tar(head: bytes) -> bool:
    """Whether it begins as a tar file of before 1988, or as an empty one."""
    if len(head) < tarfile.BLOCKSIZE:
        return False
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return not head.strip(b"\0")
    return True


def _identity(path: str) -> _Identity:
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError as error:
        raise _missing(path, error.strerror) from error
    if not stat.S_ISREG(status.st_mode):
        raise _missing(path, "it is no file")
    return path, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _limits() -> Limits:
    return Limits(
        members=settings.ARCHIVE_MAX_MEMBERS,
        total_bytes=settings.ARCHIVE_MAX_BYTES,
        member_bytes=settings.MAX_IMAGE_BYTES,
        video_bytes=settings.VIDEO_MAX_BYTES,
        ratio=settings.ARCHIVE_MAX_RATIO,
    )


def _albums_first(folders: Mapping[str, Sequence[Member]]) -> list[str]:
    """Let Google's "Photos from 2019" come after its albums, which have the same images."""

    def order(folder: str) -> tuple[bool, str]:
        is_year = takeout.is_year_folder(folder.rpartition("/")[2])
        return is_year and not any(
            takeout.is_album_file(member.path.rpartition("/")[2]) for member in folders[folder]
        ), folder

    return sorted(folders, key=order)
