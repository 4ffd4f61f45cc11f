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
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from enum import Enum
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, NamedTuple, cast

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
from gallery.storage.opening import is_same_file, place, refuse_the_same, told_as_unavailable

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
    state_dir: Path  # where it is written down what is not proved
    threads: int = 8
    deletes: bool = False  # from the source, what the target proved to have

    def run(self) -> Iterator[Moved]:
        """Copy what the target lacks; yield what became of each named file.

        Raise StorageUnavailable when a storage cannot be listed, another move is under way, the
        journal cannot be written, or files would be deleted of the storage that they were moved to.
        """
        if place(self.source) == place(self.target):
            raise StorageUnavailable("Both are the same storage.")
        with _journal(self.state_dir / self._journal_name()) as journal:
            suspects = journal.read()
            # A failed file may be at the target all the same: nobody has read it back.
            failed: set[str] = set()
            if self.deletes:
                refuse_the_same(self.source, self.target, default_storage)
            for batch in _batches(self._rows(suspects)):
                # Until all of it is proved, a crash leaves files that nobody has read back.
                journal.write({row.named.name for row in batch} | suspects | failed)
                moved = in_parallel(self._move, batch, threads=self.threads)
                for row, one in zip(batch, moved, strict=True):
                    told = _unless_gone(row.named, one)
                    if told.fate is Fate.FAILED:
                        failed.add(told.name)
                    yield told
            journal.write(failed)

    def _rows(self, suspects: set[str]) -> Iterator[_Row]:
        rows = side_by_side(named_files(), _listed(self.source, "FROM"), _listed(self.target, "TO"))
        for name, (named, stored, held) in rows:
            if named is not None:
                yield _Row(named, stored, held, name in suspects)

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
            if self._was_moved(row):
                return Moved(name, Fate.HELD)
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

    def _was_moved(self, row: _Row) -> bool:
        """Say whether an earlier run moved a file and deleted it from the source."""
        named, held = row.named, row.held
        if held is None or named.bytes not in (None, held.bytes):
            return False
        if row.is_suspect and named.sha256 is not None:
            return sha256_in(self.target, named.name) == named.sha256
        return True

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


def _listed(storage: Storage, called: str) -> Iterator[StoredFile]:
    with told_as_unavailable(f"{called} cannot be listed"):
        yield from stored_files(storage)


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
    """The names that are not proved, in a file that is there whole or not at all."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> set[str]:
        with _told(self._path):
            try:
                return set(json.loads(self._path.read_text()))
            except FileNotFoundError:
                return set()

    def write(self, names: set[str]) -> None:
        with _told(self._path):
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
    with ExitStack() as held:
        with _told(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = held.enter_context(path.with_suffix(".lock").open("w"))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise StorageUnavailable("Another move between these two is under way.") from error
        yield _Journal(path)


def _told(journal: Path) -> AbstractContextManager[None]:
    return told_as_unavailable(f"What is not proved cannot be noted in {journal.parent}")
