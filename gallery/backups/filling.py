"""The files of a backup into the gallery's storage: each proved before it is written, and after."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from django.core.files.base import ContentFile, File
from django.core.files.storage import FileSystemStorage, Storage

from gallery.backups.archive import Member
from gallery.backups.checking import prove
from gallery.backups.errors import RestoreRefused, RestoreStopped
from gallery.backups.manifest import FileChoice, FileEntry
from gallery.backups.progress import Progress, step
from gallery.backups.reading import OpenBackup
from gallery.storage.flows import in_parallel, side_by_side
from gallery.storage.hashes import sha256_in
from gallery.storage.listings import StoredFile, looked_up, stored_files

MARK = "restore.json"  # in the storage's root, while a restore is under way
_TOLD_AT_MOST = 20  # of the files that are not as a list says


@dataclass
class Filled:
    """What became of the files."""

    stored: int = 0
    held: int = 0  # they were there from an earlier try
    missing: int = 0  # when the backup was made, as the damaged were
    damaged: int = 0
    # Names that were missing or damaged then, and those of rows that are not to come back.
    wrong: set[str] = field(default_factory=set)


@contextmanager
def unavailable_told() -> Iterator[None]:
    """Say of a storage that fails that the same command goes on."""
    try:
        yield
    except OSError as error:
        raise RestoreStopped(
            f"The storage does not take or give a file: {error.strerror or error}. "
            "Nothing is visible yet; the same command goes on from here."
        ) from error


def begin(storage: Storage, backup: OpenBackup) -> bool:
    """Mark the storage as being filled from this backup; return whether it was already.

    Raise RestoreRefused when it holds other files.
    """
    id_ = backup.manifest.id
    with unavailable_told():
        if storage.exists(MARK):
            marked = _marked(storage)
            if marked == id_:
                return True
            if marked is not None:
                raise RestoreRefused(
                    f"The storage holds the beginning of another restore ({MARK}): finish that "
                    "one, or empty the storage."
                )
            storage.delete(MARK)  # its restore was killed before it said which: it stored nothing
        is_listed = backup.manifest.files == FileChoice.LIST
        if not is_listed and next(stored_files(storage), None) is not None:
            raise RestoreRefused(
                "The storage holds files already. A backup is restored into an empty one: set "
                "DATA_DIR or STORAGE_URL to another."
            )
        storage.save(MARK, ContentFile(json.dumps({"backup": str(id_)}).encode()))
    return False


def end(storage: Storage) -> None:
    with unavailable_told():
        storage.delete(MARK)


def recall(backup: OpenBackup) -> Filled:
    """Return what the lists say, of files that were stored already."""
    filled = Filled()
    for listed in backup.files():
        for entry in listed.entries:
            _note(entry, filled, backup)
            filled.held += entry.is_kept
    return filled


def _marked(storage: Storage) -> uuid.UUID | None:
    with storage.open(MARK, "rb") as file:
        try:
            return uuid.UUID(json.loads(file.read(1000))["backup"])
        except (ValueError, KeyError, TypeError):
            return None


@dataclass(frozen=True, kw_only=True)
class Filling:
    """Writes what an archive holds, or compares with the storage what it only lists."""

    backup: OpenBackup
    storage: Storage
    threads: int
    progress: Progress
    is_again: bool  # an earlier try may have left files, whole or not
    hashes: bool = True  # of files that are only listed

    def run(self) -> Filled:
        """Raise BackupBroken, RestoreRefused, RestoreStopped; then the same can be done again."""
        filled = Filled()
        counts = self.backup.manifest.file_counts
        with step(self.progress, "files", unit="file", total=counts.named), unavailable_told():
            if self.backup.manifest.files == FileChoice.LIST:
                self._compare_all(filled)
            else:
                self._store_all(filled)
            if isinstance(self.storage, FileSystemStorage):
                os.sync()  # the rows, which are written next, must not outlive them
        kept = self.backup.manifest.file_counts.kept
        if filled.stored + filled.held != kept:
            raise self.backup.archive.broken(
                f"has {filled.stored + filled.held:,} files; its manifest says {kept:,}"
            )
        return filled

    def _store_all(self, filled: Filled) -> None:
        for listed in self.backup.files():
            pairs = []
            for entry in listed.entries:
                _note(entry, filled, self.backup)
                if entry.name in listed.members:
                    pairs.append((entry, listed.members[entry.name]))
            for is_new in in_parallel(self._store, pairs, threads=self.threads):
                filled.stored += is_new
                filled.held += not is_new
                self.progress.advance()

    def _store(self, pair: tuple[FileEntry, Member]) -> bool:
        """Write a file unless it is there; return whether it was written."""
        entry, member = pair
        prove(self.backup.archive, entry, member)
        if self.is_again and self.storage.exists(entry.name):
            if sha256_in(self.storage, entry.name) == entry.sha256:
                return False
            self.storage.delete(entry.name)  # cut off when the earlier try ended
        with self.backup.archive.open(member) as file:
            stored_as = self.storage.save(entry.name, File(file, name=entry.name))
        if stored_as != entry.name or sha256_in(self.storage, stored_as) != entry.sha256:
            self.storage.delete(stored_as)
            raise OSError("what it gave back is not what it was sent")
        return True

    def _compare_all(self, filled: Filled) -> None:
        wrong = 0
        rows = (row for _, row in side_by_side(self._entries(), stored_files(self.storage)))
        named = ((entry, stored) for entry, stored in rows if entry is not None)
        for entry, sentence in in_parallel(self._compare, named, threads=self.threads):
            _note(entry, filled, self.backup)
            filled.held += entry.is_kept
            self.progress.advance()
            if sentence and (wrong := wrong + 1) <= _TOLD_AT_MOST:
                self.progress.tell(f"{entry.name} {sentence}.")
        if wrong:
            raise RestoreRefused(
                f"{wrong:,} files of the list are not in the storage as they were. Nothing was "
                "restored: bring them back first."
            )

    def _entries(self) -> Iterator[FileEntry]:
        for listed in self.backup.files():
            yield from listed.entries

    def _compare(self, pair: tuple[FileEntry, StoredFile | None]) -> tuple[FileEntry, str]:
        """Return half a sentence for an original that is not as its row knows it.

        What no row knows the hash of can be made anew; what is not to come back need not be there.
        """
        entry, stored = pair
        if entry.wrong or entry.sha256 is None or self.backup.manifest.gone.has(entry):
            return entry, ""
        there = stored or looked_up(self.storage, entry.name)
        if there is None:
            return entry, "is not there"
        if there.bytes != entry.bytes:
            return entry, f"has {there.bytes:,} bytes, not {entry.bytes:,}"
        if self.hashes and sha256_in(self.storage, entry.name) != entry.sha256:
            return entry, "has other bytes than it had"
        return entry, ""


def _note(entry: FileEntry, filled: Filled, backup: OpenBackup) -> None:
    filled.missing += entry.wrong == "missing"
    filled.damaged += entry.wrong == "damaged"
    if entry.wrong in ("missing", "damaged") or backup.manifest.gone.has(entry):
        filled.wrong.add(entry.name)
