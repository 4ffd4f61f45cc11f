"""Copying a whole library from one storage to another, proved by hash.

Files never change under their names, so a library is copied while a server uses it; what came
meanwhile is copied by the next run, which takes only what is missing.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from django.core.files.base import File
from django.core.files.storage import Storage, default_storage

from gallery.errors import StorageUnavailable
from gallery.storage.fetching import MEMORY_BYTES
from gallery.storage.flows import in_parallel, side_by_side
from gallery.storage.hashes import PIECE_BYTES, sha256_in
from gallery.storage.listings import (
    NamedFile,
    StoredFile,
    is_named,
    looked_up,
    named_files,
    stored_files,
)
from gallery.storage.opening import is_same_file, place, refuse_the_same

_AT_ONCE = 256  # files that are under way together, and copied again after a crash


class Fate(Enum):
    COPIED = "copied"
    HELD = "held"  # it was there already
    FAILED = "failed"
    GONE = "gone"  # its image was deleted meanwhile


class Moved(NamedTuple):
    """What became of one file."""

    name: str
    fate: Fate
    bytes: int = 0
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Move:
    """A library's way from one storage to another. Rows keep their names."""

    source: Storage
    target: Storage
    state_dir: Path  # where it is written down what was under way
    threads: int = 8
    deletes: bool = False  # from the source, what the target proved to have

    def run(self) -> Iterator[Moved]:
        """Copy what the target lacks; yield what became of each named file.

        Raise StorageUnavailable when a storage cannot be listed, or another move is under way,
        or when files would be deleted of the storage that they were moved to.
        """
        if place(self.source) == place(self.target):
            raise StorageUnavailable("Both are the same storage.")
        with _journal(self.state_dir / self._journal_name()) as journal:
            suspects = journal.read()
            try:
                if self.deletes:
                    refuse_the_same(self.source, self.target, default_storage)
                rows = side_by_side(
                    named_files(), stored_files(self.source), stored_files(self.target)
                )
                work = (_row(row, suspects) for _, row in rows if row[0])
                for batch in _batches(work):
                    # Until all of it is proved, a crash leaves files that nobody has read back.
                    journal.write({row.named.name for row in batch} | suspects)
                    moved = in_parallel(self._move, batch, threads=self.threads)
                    for row, one in zip(batch, moved, strict=True):
                        yield _unless_gone(row.named, one)
            except OSError as error:
                raise StorageUnavailable(f"A storage cannot be listed: {error}.") from error
            journal.write(set())

    def _journal_name(self) -> str:
        pair = f"{place(self.source)}\n{place(self.target)}"
        return f"move-{hashlib.sha256(pair.encode()).hexdigest()[:16]}.json"

    def _move(self, row: _Row) -> Moved:
        try:
            return self._moved(row)
        except OSError as error:
            return _failed(row.named, f"{error.strerror or error}")

    def _moved(self, row: _Row) -> Moved:
        # What lies behind a link to a folder is not listed: only a row can say that it is ours.
        row = row._replace(
            stored=row.stored or looked_up(self.source, row.named.name),
            held=row.held or looked_up(self.target, row.named.name),
        )
        named, name = row.named, row.named.name
        if row.stored is None:
            if row.held is not None and named.bytes in (None, row.held.bytes):
                return Moved(name, Fate.HELD)  # an earlier run moved and deleted it
            return _failed(named, "the source does not have it")
        is_held = row.held is not None and row.held.bytes == row.stored.bytes
        if is_held and not row.is_suspect and not self.deletes:
            return Moved(name, Fate.HELD)
        with _fetched(self.source, name) as (file, sha256):
            if named.sha256 not in (None, sha256):
                return _failed(named, "the source's bytes are not those that were stored")
            if is_held and sha256_in(self.target, name) == sha256:
                moved = Moved(name, Fate.HELD)
            else:
                self._copy(name, file, sha256, is_there=row.held is not None)
                moved = Moved(name, Fate.COPIED, row.stored.bytes)
        # Behind a link to a folder, the two may be one file by two names.
        if self.deletes and not is_same_file(name, self.source, self.target, default_storage):
            self.source.delete(name)
        return moved

    def _copy(self, name: str, file: IO[bytes], sha256: str, *, is_there: bool) -> None:
        if is_there:
            self.target.delete(name)  # else a folder would choose another name
        stored_as = self.target.save(name, File(file))
        if stored_as != name or sha256_in(self.target, name) != sha256:
            self.target.delete(stored_as)
            raise OSError("what the target gave back is not what it was sent")


class _Row(NamedTuple):
    """One name: what a row says of it, and what the two storages have."""

    named: NamedFile
    stored: StoredFile | None
    held: StoredFile | None
    is_suspect: bool


def _row(found: list[Any], suspects: set[str]) -> _Row:
    named, stored, held = found
    return _Row(named, stored, held, named.name in suspects)


def _failed(named: NamedFile, reason: str) -> Moved:
    return Moved(named.name, Fate.FAILED, reason=reason)


def _unless_gone(named: NamedFile, moved: Moved) -> Moved:
    is_gone = moved.fate is Fate.FAILED and not is_named(named)
    return Moved(named.name, Fate.GONE) if is_gone else moved


@contextmanager
def _fetched(storage: Storage, name: str) -> Iterator[tuple[IO[bytes], str]]:
    """Give a file's bytes, read once and lying here, with their hash."""
    sha256 = hashlib.sha256()
    with tempfile.SpooledTemporaryFile(max_size=MEMORY_BYTES) as here:
        with storage.open(name, "rb") as there:
            for piece in iter(partial(there.read, PIECE_BYTES), b""):
                sha256.update(piece)
                here.write(piece)
        here.seek(0)
        yield cast("IO[bytes]", here), sha256.hexdigest()


def _batches(rows: Iterable[_Row]) -> Iterator[list[_Row]]:
    rest = iter(rows)
    while batch := list(islice(rest, _AT_ONCE)):
        yield batch


class _Journal:
    """The names that were under way, in a file that is there whole or not at all."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> set[str]:
        try:
            return set(json.loads(self._path.read_text()))
        except FileNotFoundError:
            return set()

    def write(self, names: set[str]) -> None:
        if not names:
            self._path.unlink(missing_ok=True)
            return
        new = self._path.with_suffix(".new")
        with new.open("w") as file:
            json.dump(sorted(names), file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)


@contextmanager
def _journal(path: Path) -> Iterator[_Journal]:
    """Hold the journal against a second move between the same two. The lock dies with us."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StorageUnavailable("Another move between these two is under way.") from error
        yield _Journal(path)
