"""Making a backup: one snapshot of the database, then the files that it names."""

from __future__ import annotations

import fcntl
import os
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from django.conf import settings
from django.core.files.storage import Storage
from django.db import DatabaseError, connection
from django.utils import timezone

from embeddings import feed
from embeddings.errors import EmbeddingsError
from embeddings.models import Space
from gallery.backups import deletions, files, manifest, questions, tables
from gallery.backups.archive import BLOCK, Sink, Writer
from gallery.backups.deletions import Held
from gallery.backups.errors import BackupNotMade
from gallery.backups.files import FileWriter, Names
from gallery.backups.manifest import (
    End,
    FileChoice,
    Manifest,
    Proof,
    Sequence,
    SpaceRecord,
    Start,
    Table,
)
from gallery.backups.progress import Progress, step
from gallery.storage.opening import place

_SUFFIX = ".partial"
# More than so many files that cannot be read, and than a tenth, look like a storage that is away.
_FEW_LOST = 20


@dataclass(frozen=True, kw_only=True)
class Backup:
    """What is to be kept, and how it is read."""

    storage: Storage
    files: FileChoice
    threads: int
    work_dir: Path  # for the list of names, while it is worked on
    progress: Progress

    def write_to(self, out: Sink) -> Manifest:
        """Write the archive, in one direction. Raise BackupNotMade when it cannot be whole."""
        writer = Writer(out)
        start = Start(format=manifest.FORMAT, id=uuid.uuid4(), made_at=timezone.now())
        writer.add(manifest.START, manifest.written(start))
        try:
            with ExitStack() as kept:
                with tables.one_snapshot():
                    # Files of this very state; those that come later belong to the next backup.
                    names = kept.enter_context(files.names_now(self.work_dir, self.files))
                    snapshot = self._database(writer)
                found = self._files(writer, names)
            connection.close()  # nobody has used it for hours, and it may be cut
            gone = deletions.since(snapshot.held)
        except (DatabaseError, EmbeddingsError) as error:
            raise BackupNotMade(f"The database cannot be read: {error}") from error
        made = Manifest(
            format=manifest.FORMAT,
            id=start.id,
            made_at=start.made_at,
            migrations=snapshot.migrations,
            postgres=snapshot.postgres,
            storage=place(self.storage),
            precision=settings.ENCODER_PRECISION,
            files=self.files,
            file_counts=found.counts,
            gone=gone,
            spaces=snapshot.spaces,
            tables=snapshot.tables,
            sequences=snapshot.sequences,
            lists=found.lists,
            proof=snapshot.proof,
        )
        _finish(writer, made)
        return made

    def _database(self, writer: Writer) -> _Snapshot:
        migrations = tables.migrations()
        kept = []
        names = tables.names()
        with step(self.progress, "database", unit="table", total=len(names)):
            for name in names:
                kept.append(tables.write(writer, name))
                self.progress.advance()
        with step(self.progress, "questions", unit="question"):
            proof = questions.ask()
        for sentence in proof.left_out:
            self.progress.tell(sentence)
        # Behind the rows: numbers are given outside of any transaction, and only grow.
        sequences = tables.sequences(names)
        held = deletions.held()
        return _Snapshot(migrations, _postgres(), kept, sequences, _spaces(), proof, held)

    def _files(self, writer: Writer, names: Names) -> FileWriter:
        written = FileWriter(writer, self.storage, self.files, self.threads, self.progress)
        with step(self.progress, "files", unit="file", total=names.count):
            try:
                written.write(names)
            except OSError as error:
                raise BackupNotMade(f"The backup cannot go on: {_told(error)}.") from error
        return written


@dataclass(frozen=True)
class _Snapshot:
    """What was found in one state of the database."""

    migrations: dict[str, str]
    postgres: str
    tables: list[Table]
    sequences: list[Sequence]
    spaces: list[SpaceRecord]
    proof: Proof
    held: Held


@contextmanager
def new_file(path: Path, *, replaces: bool) -> Iterator[Sink]:
    """Give a file that is at `path` when the block has ended well, and nowhere else before.

    Only its owner may read it. Raise BackupNotMade when it cannot be written, when there is one
    and it is not to be replaced, or while another backup writes it.
    """
    if path.exists() and not (replaces and path.is_file()):
        raise BackupNotMade(f"{path} is there already: choose another name, or give --replace.")
    unfinished = path.with_name(path.name + _SUFFIX)
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    with _told_of(path):
        out = os.fdopen(os.open(unfinished, flags, 0o600), "wb", buffering=2**20)
    with ExitStack() as undone:
        undone.callback(_let_go, out)
        with _told_of(path):
            _claim(out.fileno(), unfinished, path)
        undone.callback(unfinished.unlink, missing_ok=True)
        yield _NewFile(out, path)
        with _told_of(path):
            out.flush()
            os.fsync(out.fileno())
            unfinished.rename(path)
            undone.pop_all()
            out.close()
            _sync_folder(path.parent)


class _NewFile:
    """Takes what is written, and tells a failure with its name: others fail in that block, too."""

    def __init__(self, out: IO[bytes], path: Path) -> None:
        self._out = out
        self._path = path

    def write(self, data: bytes, /) -> None:
        with _told_of(self._path):
            self._out.write(data)


@contextmanager
def _told_of(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BackupNotMade(f"{path} cannot be written: {_told(error)}.") from error


def _let_go(out: IO[bytes]) -> None:
    """Close a file that failed. What it has not written yet is of no use."""
    with suppress(OSError):
        out.close()


def refuse_worse(made: Manifest, path: Path) -> None:
    """Raise BackupNotMade where a backup lacks so much that the older one may be the last good."""
    counts = made.file_counts
    lost = counts.missing + counts.damaged
    if path.exists() and lost > max(_FEW_LOST, counts.named // 10):
        raise BackupNotMade(
            f"{lost:,} of {counts.named:,} files are missing or damaged; {path} is kept. Look "
            "whether the storage is there, or give another name."
        )


def _claim(descriptor: int, unfinished: Path, path: Path) -> None:
    """Make an unfinished file ours, empty and private. Its lock dies with us."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BackupNotMade(f"Another backup is writing {path}.") from error
    if not unfinished.exists() or not os.path.samestat(os.fstat(descriptor), unfinished.stat()):
        raise BackupNotMade(f"Another backup has just written {path}.")
    os.fchmod(descriptor, 0o600)
    os.ftruncate(descriptor, 0)  # it may be of a backup that was killed


def _finish(writer: Writer, made: Manifest) -> None:
    manifest_at = writer.position
    sha256 = writer.add(manifest.MANIFEST, manifest.written(made))
    end = End(format=manifest.FORMAT, manifest_at=manifest_at, manifest_sha256=sha256)
    # One block, so that it is found from the end of the file.
    writer.add(manifest.END, manifest.written(end).ljust(BLOCK))
    writer.finish()


def _spaces() -> list[SpaceRecord]:
    return [
        SpaceRecord(
            id=space.pk,
            name=space.name,
            revision=space.revision,
            dimensions=space.dimensions,
            state=space.state,
            vectors_by_table={
                model._meta.db_table: model._default_manager.filter(space=space).count()
                for model in feed.vector_tables()
            },
        )
        for space in Space.objects.order_by("pk")
    ]


def _postgres() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version")
        return str(cursor.fetchone()[0])


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _told(error: OSError) -> str:
    return error.strerror or str(error)
