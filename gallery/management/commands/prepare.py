"""All that must be there before the server starts, in one process."""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.core.files.storage import default_storage
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from embeddings.encoders import registry
from embeddings.errors import EncoderUnavailable
from embeddings.models import Space
from gallery import first_admin, spaces
from gallery.errors import StorageUnavailable
from gallery.storage import opening


class Command(BaseCommand):
    help = (
        "Bring the database up to date, choose the encoder of a new gallery, collect static "
        "files and make the first admin. What is done already is not done again."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--admin-file",
            type=Path,
            metavar="PATH",
            help="make a first admin if there is none, and write its name, password and token here",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        self._look_at_the_storage()
        if migrate():
            self.stdout.write("Brought the database up to date.")
        if collect_static_files():
            self.stdout.write("Collected the static files.")
        try:
            if spaces.active() is None:
                self.stdout.write(f"The gallery's encoder is {spaces.ensure().name}.")
            else:
                self._open_encoder(spaces.ensure())
            file: Path | None = options["admin_file"]
            if file and first_admin.ensure(file):
                self.stdout.write(f"Made the superuser {first_admin.USERNAME}, told in {file}.")
        except (EncoderUnavailable, first_admin.AdminNotMade) as error:
            raise CommandError(str(error)) from error

    def _open_encoder(self, space: Space) -> None:
        """Export it for this version of the runtimes, so that no search has to wait for that."""
        try:
            registry.load(space)
        except EncoderUnavailable as error:
            # All but searching by meaning goes on without it.
            self.stderr.write(str(error))

    def _look_at_the_storage(self) -> None:
        try:
            opening.prove(default_storage)
        except opening.StorageMisconfigured as error:
            raise CommandError(str(error)) from error
        except StorageUnavailable as error:
            # Searching needs no files: a bucket that is away for now keeps no server down.
            self.stderr.write(str(error))


def migrate() -> bool:
    """Apply the migrations that are not yet. Return whether there were any."""
    executor = MigrationExecutor(connection)
    if not executor.migration_plan(executor.loader.graph.leaf_nodes()):
        return False
    call_command("migrate", interactive=False, verbosity=0)
    return True


def collect_static_files() -> bool:
    """Collect the static files, unless these very ones were collected before."""
    collected = Path(settings.STATIC_ROOT) / ".collected"
    now = fingerprint()
    if collected.is_file() and collected.read_text() == now:
        return False
    # Cleared first: collectstatic goes by time stamps, and takes an older version for no change.
    call_command("collectstatic", interactive=False, clear=True, verbosity=0)
    collected.write_text(now)
    return True


def fingerprint() -> str:
    """Return a hash that changes when any static file comes, goes or changes."""
    found = hashlib.sha256()
    for finder in get_finders():
        for name, storage in finder.list([]):
            found.update(
                f"{name} {storage.size(name)} {storage.get_modified_time(name)}\n".encode()
            )
    return found.hexdigest()
