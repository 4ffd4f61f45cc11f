"""Restoring a backup into an empty gallery.

Files come first, which nobody sees without their rows; then all rows in one transaction. A restore
that is killed at any line leaves an empty gallery or a whole one, and the same command goes on.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.core.files.storage import Storage
from django.core.management import call_command
from django.db import DatabaseError, InterfaceError, connection, transaction
from django.db.migrations.exceptions import IrreversibleError
from django.db.migrations.loader import MigrationLoader

from embeddings import feed, live, snapshots
from embeddings.encoders import sources
from embeddings.errors import EmbeddingsError, EncoderUnavailable
from embeddings.models import Space
from gallery import spaces, verification
from gallery.backups import filling, naming, questions, settling, tables
from gallery.backups.archive import Member
from gallery.backups.errors import RestoreRefused, RestoreStopped
from gallery.backups.filling import Filled, Filling
from gallery.backups.manifest import FileChoice, Manifest
from gallery.backups.progress import Progress, step
from gallery.backups.questions import Compared
from gallery.backups.reading import OpenBackup
from gallery.errors import StorageUnavailable
from gallery.storage.checking import Check, Wrong
from gallery.storage.listings import count_named_files
from gallery.storage.outside import PlacesUnread

_LOCK = 0x53_65_6D_72  # any number, the same in every process that restores
_PATIENCE_SECONDS = 5.0  # until Postgres has noticed that an earlier restore was killed
# What `prepare` makes in a new gallery; the backup's own takes its place.
_MADE_BY_PREPARE = {"gallery_apitoken"}


@dataclass(frozen=True)
class Restored:
    """How a restore has ended."""

    manifest: Manifest
    filled: Filled
    compared: Compared
    disagreements: list[str] = field(default_factory=list)
    thumbnails_made: int = 0

    @property
    def is_proved(self) -> bool:
        return not self.compared.differences and not self.disagreements


@dataclass(frozen=True, kw_only=True)
class Restore:
    """A backup's way into this gallery."""

    backup: OpenBackup
    storage: Storage
    threads: int
    progress: Progress
    hashes: bool = True  # of files that are only listed

    def run(self) -> Restored:
        """Raise BackupBroken, RestoreRefused or RestoreStopped before anything is visible.

        RestoreStopped also later: then the same command goes on.
        """
        with _alone(), _told_of_the_database():
            return self._run()

    def _run(self) -> Restored:
        known = self.backup.manifest
        self._tell_of_encoders(known)
        _check_migrations(known)
        if _restored_from() == str(known.id) and _table_in_use():
            # An earlier try has come so far: all files were proved before it wrote the rows.
            filled = filling.recall(self.backup)
        else:
            refuse_unless_empty()
            filled = self._fill()
            self._load(known, self.backup.parts())
        _bring_up_to_date()
        settling.let_go()
        thumbnails = self._make_thumbnails(known)
        self._build_indexes()
        compared = self._prove(known)
        disagreements = self._disagreements(filled)
        self._end(known)
        return Restored(known, filled, compared, disagreements, thumbnails)

    def _fill(self) -> Filled:
        with step(self.progress, "database's hashes", unit="part"):
            self.backup.parts()  # hours before they are needed
        return Filling(
            backup=self.backup,
            storage=self.storage,
            threads=self.threads,
            progress=self.progress,
            is_again=filling.begin(self.storage, self.backup),
            hashes=self.hashes,
        ).run()

    def _tell_of_encoders(self, known: Manifest) -> None:
        """Say now what would only be found after hours."""
        for space in known.used_spaces:
            what = "Searching by text" if space.state == "active" else "Its space"
            try:
                found = sources.find(space.name, revision=space.revision)
            except EncoderUnavailable as error:
                self.progress.tell(
                    f"The backup's encoder is not to be had here: {error} Images are restored; "
                    f"{what[0].lower()}{what[1:]} waits for it."
                )
                continue
            if found.revision != space.revision:
                self.progress.tell(
                    f"The encoder {space.name} is here in revision {found.revision[:12]}; the "
                    f"vectors were made with {space.revision[:12]}. {what} waits for its files."
                )
        if known.used_spaces and known.precision != settings.ENCODER_PRECISION:
            self.progress.tell(
                f"ENCODER_PRECISION was {known.precision!r} and is {settings.ENCODER_PRECISION!r}."
            )

    def _load(self, known: Manifest, members: dict[str, Member]) -> None:
        """Make the tables of the backup's version and write all rows, in one transaction."""
        _migrate_to(known.migrations)
        tables.check(known.tables)
        with (
            step(self.progress, "database", unit="table", total=len(known.tables)),
            transaction.atomic(durable=True),
        ):
            refuse_unless_empty(locks=True)
            for user in User.objects.all():
                self.progress.tell(f"The account {user.username} made here gives way.")
            tables.clear(known.tables)
            with tables.asleep(known.tables):
                for table in tables.in_order(known.tables):
                    tables.load(self.backup.archive, table, members)
                    self.progress.advance()
            for sequence in known.sequences:
                tables.set_sequence(sequence)
            naming.check(self.backup)
            feed.install_all()
            _name_the_backup(known)
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
        ContentType.objects.clear_cache()
        spaces.forget()
        live.forget_all()

    def _make_thumbnails(self, known: Manifest) -> int:
        if known.files == FileChoice.ALL:
            return 0
        made = 0
        # A list's storage may be in use: what came since the backup has no row in it, and stays.
        check = Check(storage=self.storage, repairs=True, keeps_orphans=True)
        with step(self.progress, "thumbnails", unit="file", total=count_named_files()):
            try:
                # A thumbnail whose original cannot be had is told by the last look at everything.
                for findings in check.own():
                    made += sum(finding.is_repaired for finding in findings)
                    self.progress.advance()
            except StorageUnavailable as error:
                raise _stopped(error) from error
        return made

    def _build_indexes(self) -> None:
        built = [(model, space) for model in feed.vector_tables() for space in Space.in_use()]
        with step(self.progress, "indexes", unit="index", total=len(built)):
            for model, space in built:
                try:
                    snapshots.build(model, space)
                except (EmbeddingsError, OSError, MemoryError) as error:
                    self.progress.tell(f"The index of {model._meta.db_table}: {error}")
                self.progress.advance()

    def _prove(self, known: Manifest) -> Compared:
        proof = known.proof
        total = 2 * len(proof.vectors) + len(proof.searches)
        with step(self.progress, "questions", unit="question", total=total):
            with tables.one_snapshot():
                compared = questions.ask_again(proof, self.progress.advance)
            share = questions.share_of_index(proof, self.progress.advance)
        if share is not None and share < settings.INDEX_RECALL - questions.INDEX_TOLERANCE:
            compared.differences.append(f"The index finds {share:.1%} of the exact answers.")
        return compared._replace(index_share=share)

    def _disagreements(self, filled: Filled) -> list[str]:
        """Return what verify finds, but for what was so before, and where nobody could look."""
        is_list = self.backup.manifest.files == FileChoice.LIST
        found: list[str] = []
        younger = 0
        try:
            for one in verification.disagreements():
                if is_list and one.wrong == Wrong.ORPHANED:
                    younger += 1
                elif one.file not in filled.wrong:
                    found.append(str(one))
        except PlacesUnread as error:  # at its very end: all else was looked at
            found += error.sentences
        except StorageUnavailable as error:
            raise _stopped(error) from error
        if younger:
            self.progress.tell(
                f"{younger:,} files of the storage have no row: they came after the backup was "
                "made. They are kept; manage.py check_storage --repair would delete them."
            )
        return found

    def _end(self, known: Manifest) -> None:
        """Take the marks of a restore under way from it, and the images that are not to come back.

        Without these the questions have other answers, so nothing may go on from behind that.
        """
        filling.end(self.storage)
        with transaction.atomic():
            n = settling.remove(known.gone)
            _forget_the_name()
        if n:
            self.progress.tell(f"{n:,} images were deleted while the backup was made: removed.")


def _stopped(error: StorageUnavailable) -> RestoreStopped:
    return RestoreStopped(f"{error} The same command goes on from here.")


def refuse_unless_empty(*, locks: bool = False) -> None:
    """Raise RestoreRefused when the database holds a gallery that somebody uses.

    With `locks` nobody can begin one until the transaction ends.
    """
    if table := _table_in_use(locks=locks):
        raise RestoreRefused(
            f"The database is not empty: {table} has rows. A backup is restored into a new "
            "gallery: set DATA_DIR or DATABASE_URL to another."
        )
    if User._meta.db_table in connection.introspection.table_names() and User.objects.count() > 1:
        raise RestoreRefused("The database has users already: restore into a new one.")


def _table_in_use(*, locks: bool = False) -> str:
    """Return the name of a table with rows of a gallery, "" when there is none."""
    there = [
        table
        for table in connection.introspection.table_names()
        if table.startswith("gallery_") and table not in _MADE_BY_PREPARE
    ]
    found = ""
    with connection.cursor() as cursor:
        for table in sorted(there):
            name = connection.ops.quote_name(table)
            if locks:
                cursor.execute(f"LOCK TABLE {name} IN ACCESS EXCLUSIVE MODE")
            cursor.execute(f"SELECT EXISTS (SELECT FROM {name})")
            if cursor.fetchone()[0]:
                found = found or table
    return found


@contextmanager
def _alone() -> Iterator[None]:
    """Hold off a second restore. The lock dies with the connection."""
    until = time.monotonic() + _PATIENCE_SECONDS
    while not _is_locked():
        if time.monotonic() > until:
            raise RestoreRefused("Another restore into this database is under way.")
        time.sleep(0.1)
    try:
        yield
    finally:
        with suppress(DatabaseError, InterfaceError), connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [_LOCK])


def _is_locked() -> bool:
    """Take the lock of restores; return whether it is ours."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [_LOCK])
        return bool(cursor.fetchone()[0])


@contextmanager
def _told_of_the_database() -> Iterator[None]:
    try:
        yield
    except (DatabaseError, InterfaceError) as error:
        first = str(error).partition("\n")[0]
        raise RestoreStopped(
            f"The database cannot go on: {first}. The same command goes on from here."
        ) from error


def _check_migrations(known: Manifest) -> None:
    here = set(MigrationLoader(connection).graph.nodes)
    unknown = sorted(".".join(one) for one in known.migrations.items() if one not in here)
    if unknown:
        raise RestoreRefused(
            f"The backup is of a version that this one does not know ({', '.join(unknown)}): "
            "restore it with that version or a newer one."
        )


def _migrate_to(migrations: dict[str, str]) -> None:
    loader = MigrationLoader(connection)
    if dict(loader.graph.leaf_nodes()) == migrations:
        _bring_up_to_date()
        return
    for app, name in sorted(migrations.items()):
        try:
            call_command("migrate", app, name, interactive=False, verbosity=0)
        except IrreversibleError as error:
            raise RestoreRefused(
                f"The tables are of a newer version than the backup ({app}): restore into a "
                "database without tables."
            ) from error


def _bring_up_to_date() -> None:
    call_command("migrate", interactive=False, verbosity=0)


def _name_the_backup(known: Manifest) -> None:
    """Write down, in the transaction of the rows, where they are from."""
    with connection.cursor() as cursor:
        cursor.execute(f"COMMENT ON TABLE gallery_image IS 'Restored from backup {known.id}'")


def _restored_from() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT obj_description(to_regclass('gallery_image'), 'pg_class')")
        comment = cursor.fetchone()[0] or ""
    return str(comment).removeprefix("Restored from backup ")


def _forget_the_name() -> None:
    with connection.cursor() as cursor:
        cursor.execute("COMMENT ON TABLE gallery_image IS NULL")
