"""The files of a gallery, from its storage into an archive."""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Literal, NamedTuple, cast

from django.core.files.base import File
from django.core.files.storage import Storage

from gallery.backups.archive import PIECE_BYTES, Writer
from gallery.backups.errors import BackupNotMade
from gallery.backups.manifest import (
    FILES,
    LIST_FILES,
    LISTS,
    FileChoice,
    FileCounts,
    FileEntry,
    Part,
    read,
    write_list,
)
from gallery.backups.progress import Progress
from gallery.storage.clients import BucketUnavailable
from gallery.storage.fetching import MEMORY_BYTES
from gallery.storage.flows import in_parallel, side_by_side
from gallery.storage.listings import (
    NamedFile,
    StoredFile,
    is_named,
    looked_up,
    named_files,
    stored_files,
)

# Of one file alone: it is not there, or its disk does not give it back. Any other error may be one
# of the whole storage, and a backup without all of it is none.
_LOST = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EIO})


class _Read(NamedTuple):
    """A file as a thread has read it; without content where it is too large to be held, or away."""

    entry: FileEntry
    content: bytes | None = None


class Names:
    """What rows named at one moment: kept in a file, for the work on it may take hours."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.count = 0

    def fill(self, named: Iterable[NamedFile]) -> None:
        for one in named:
            self._file.write(FileEntry(**one._asdict()).model_dump_json().encode() + b"\n")
            self.count += 1
        self._file.flush()

    def __iter__(self) -> Iterator[FileEntry]:
        self._file.seek(0)
        for line in self._file:
            yield read(FileEntry, line, of="list of files")


@contextmanager
def names_now(folder: Path, choice: FileChoice) -> Iterator[Names]:
    """Give the names that rows have now, in the order of `in_order`.

    Raise BackupNotMade when the folder does not take them.
    """
    with ExitStack() as kept:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with ExitStack() as begun:
                file = begun.enter_context(tempfile.TemporaryFile(dir=folder))
                names = Names(cast("IO[bytes]", file))
                names.fill(one for one in named_files() if is_chosen(one, choice))
                kept.push(begun.pop_all())
        except OSError as error:
            raise BackupNotMade(
                f"The names of the files cannot be written into {folder}: "
                f"{error.strerror or error}."
            ) from error
        yield names


@dataclass
class FileWriter:
    """Writes files, and after each thousand of them the list that says what they are."""

    writer: Writer
    storage: Storage
    choice: FileChoice
    threads: int
    progress: Progress

    def __post_init__(self) -> None:
        self.lists: list[Part] = []
        self._counts = dict.fromkeys(("named", "kept", "bytes", "gone", "missing", "damaged"), 0)

    @property
    def counts(self) -> FileCounts:
        return FileCounts(**self._counts)

    def write(self, names: Names) -> None:
        """Write all files of these names. Raise OSError when the storage does not answer."""
        look = self._listed if self.choice == FileChoice.LIST else self._read_all
        written = look(names)
        while entries := list(islice(written, LIST_FILES)):
            content = write_list(entries)
            name = f"{LISTS}/{len(self.lists):06}.jsonl"
            sha256 = self.writer.add(name, content)
            self.lists.append(Part(name=name, bytes=len(content), sha256=sha256))

    def _read_all(self, names: Names) -> Iterator[FileEntry]:
        for entry, content in in_parallel(self._read, names, threads=self.threads):
            if content is not None:
                self.writer.add(f"{FILES}/{entry.name}", content)
                yield self._counted(entry)
            else:
                yield self._counted(entry if entry.wrong else self._stream(entry))

    def _read(self, entry: FileEntry) -> _Read:
        if (entry.bytes or 0) > MEMORY_BYTES:
            return _Read(entry)
        try:
            with self.storage.open(entry.name, "rb") as file:
                content = file.read()
        except OSError as error:
            return _Read(_lost(entry, error))
        return _Read(_as_read(entry, len(content), hashlib.sha256(content).hexdigest()), content)

    def _stream(self, entry: FileEntry) -> FileEntry:
        try:
            opened = self.storage.open(entry.name, "rb")
        except OSError as error:
            return _lost(entry, error)
        with opened as file:
            file.seek(0, os.SEEK_END)
            size = file.tell()  # its `size` would ask for the name, which may be gone since
            file.seek(0)
            name = f"{FILES}/{entry.name}"
            sha256 = self.writer.add_stream(name, _pieces(file, entry, size), size)
        return _as_read(entry, size, sha256)

    def _listed(self, names: Names) -> Iterator[FileEntry]:
        # Nothing is read: the size is the storage's, the hash that of the row.
        for _, (entry, stored) in side_by_side(names, stored_files(self.storage)):
            if entry is not None:
                yield self._counted(_compared(entry, stored, self.storage))

    def _counted(self, entry: FileEntry) -> FileEntry:
        if entry.wrong == "missing" and not is_named(_named(entry)):
            entry = _with(entry, "gone")
        self._counts["named"] += 1
        if entry.wrong:
            self._counts[entry.wrong] += 1
        if entry.is_kept:
            self._counts["kept"] += 1
            self._counts["bytes"] += entry.bytes or 0
        if entry.wrong in ("missing", "damaged"):
            self.progress.tell(f"{entry.name} ({entry.field} of {entry.id}) is {entry.wrong}.")
        self.progress.advance()
        return entry


def _lost(entry: FileEntry, error: OSError) -> FileEntry:
    """Return the entry of a file that is lost. Raise for an error that says nothing of the file."""
    # A bucket that does not answer has the number of a broken disk.
    if isinstance(error, BucketUnavailable):
        raise error
    if error.errno not in _LOST and not isinstance(error, FileNotFoundError):
        raise _unreadable(entry, error) from error
    return _with(entry, "missing")


def _unreadable(entry: FileEntry, error: OSError) -> BackupNotMade:
    return BackupNotMade(
        f"The file {entry.name} cannot be read: {error.strerror or error}. Whether it is lost "
        "nobody can tell: mend that, and make the backup again."
    )


def _pieces(file: File[bytes], entry: FileEntry, size: int) -> Iterator[bytes]:
    """Yield the bytes of a file; what its disk does not give back are zeros, and tell by the hash.

    Its size stands before it in the archive already. Raise BackupNotMade for any other error.
    """
    given = 0
    try:
        for piece in iter(partial(file.read, PIECE_BYTES), b""):
            given += len(piece)
            yield piece
    except OSError as error:
        if error.errno != errno.EIO or isinstance(error, BucketUnavailable):
            raise _unreadable(entry, error) from error
        while given < size:
            piece = bytes(min(PIECE_BYTES, size - given))
            given += len(piece)
            yield piece


def is_chosen(named: NamedFile, choice: FileChoice) -> bool:
    """Whether a file is on the lists of such a backup."""
    # What can be made anew is known by no hash.
    return choice != FileChoice.ORIGINALS or named.field.endswith(".file")


def _compared(entry: FileEntry, stored: StoredFile | None, storage: Storage) -> FileEntry:
    there = stored or looked_up(storage, entry.name)
    if there is None:
        return _with(entry, "missing")
    if entry.bytes not in (None, there.bytes):
        # Which bytes it has instead nobody has looked at.
        return entry.model_copy(update={"bytes": there.bytes, "sha256": None, "wrong": "damaged"})
    return entry.model_copy(update={"bytes": there.bytes})


def _as_read(entry: FileEntry, size: int, sha256: str) -> FileEntry:
    """Return what the archive holds of a file: of a damaged one, all that there is."""
    is_right = entry.sha256 in (None, sha256) and size > 0
    return entry.model_copy(
        update={"bytes": size, "sha256": sha256, "wrong": "" if is_right else "damaged"}
    )


def _with(entry: FileEntry, wrong: Literal["gone", "missing"]) -> FileEntry:
    return entry.model_copy(update={"wrong": wrong})


def _named(entry: FileEntry) -> NamedFile:
    return NamedFile(entry.name, entry.field, entry.id, entry.bytes, entry.sha256)
