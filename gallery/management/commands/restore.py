"""Bring a gallery back from a backup: `manage.py restore FILE`."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.files.storage import default_storage
from django.core.management.base import BaseCommand, CommandError

from gallery.backups import reading
from gallery.backups.errors import BackupError
from gallery.backups.restoring import Restore, Restored
from gallery.errors import StorageUnavailable
from gallery.management.progress import Bars
from gallery.storage.opening import prove

NOT_RESTORED, INTERRUPTED = 2, 130


class Command(BaseCommand):
    help = (
        "Restore a backup into an empty gallery, and prove that it answers as it did. Exit status "
        "1: restored, but something differs; 2: not restored, and the same command goes on."
    )
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", metavar="FILE", type=Path)
        parser.add_argument("--threads", type=int, default=8, help="files at once; default: 8")
        parser.add_argument(
            "--sizes-only",
            action="store_true",
            help="of a backup with a list of files: compare sizes, do not read every file",
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        if not 1 <= options["threads"] <= 64:
            raise CommandError("--threads must be from 1 to 64.")
        try:
            prove(default_storage)
            with reading.opened(options["file"]) as backup:
                restored = Restore(
                    backup=backup,
                    storage=default_storage,
                    threads=options["threads"],
                    progress=Bars(self.stderr),
                    hashes=not options["sizes_only"],
                ).run()
        except (BackupError, StorageUnavailable) as error:
            raise CommandError(str(error), returncode=NOT_RESTORED) from error
        except OSError as error:
            sentence = f"The backup cannot be read: {error.strerror or error}."
            raise CommandError(sentence, returncode=NOT_RESTORED) from error
        except KeyboardInterrupt as interrupt:
            raise CommandError(
                "Stopped. The same command goes on from here.", returncode=INTERRUPTED
            ) from interrupt
        self._tell(restored, as_json=options["json"])
        if not restored.is_proved:
            raise CommandError("Restored, but not all is as it was; see above.")

    def _tell(self, restored: Restored, *, as_json: bool) -> None:
        compared = restored.compared
        if as_json:
            self.stdout.write(json.dumps(summary(restored)))
            return
        for sentence in (*compared.differences, *restored.disagreements):
            self.stderr.write(sentence)
        known, filled = restored.manifest, restored.filled
        self.stdout.write(
            f"Restored: {known.images:,} images, "
            f"{sum(table.rows for table in known.tables):,} rows, {filled.stored:,} files; "
            f"{filled.held:,} were there already."
        )
        if restored.thumbnails_made:
            self.stdout.write(f"{restored.thumbnails_made:,} thumbnails were made anew.")
        if filled.missing or filled.damaged:
            self.stdout.write(
                f"When the backup was made, {filled.missing:,} files were missing and "
                f"{filled.damaged:,} damaged."
            )
        share = (
            ""
            if compared.index_share is None
            else (f"; the index finds {compared.index_share:.1%} of the exact ones")
        )
        self.stdout.write(
            f"{compared.asked:,} questions were asked again: {len(compared.differences):,} answers "
            f"differ{share}."
        )


def summary(restored: Restored) -> dict[str, Any]:
    """Return how a restore has ended."""
    return {
        "id": str(restored.manifest.id),
        "images": restored.manifest.images,
        "files_stored": restored.filled.stored,
        "files_held": restored.filled.held,
        "files_missing": restored.filled.missing,
        "files_damaged": restored.filled.damaged,
        "thumbnails_made": restored.thumbnails_made,
        "questions": restored.compared.asked,
        "differences": restored.compared.differences,
        "index_share": restored.compared.index_share,
        "disagreements": restored.disagreements,
    }
