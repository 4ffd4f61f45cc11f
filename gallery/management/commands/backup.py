"""Keep the whole gallery in one file: `manage.py backup FILE`."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.files.storage import default_storage
from django.core.management.base import BaseCommand, CommandError

from gallery.backups import checking, making, reading
from gallery.backups.errors import BackupError
from gallery.backups.making import Backup
from gallery.backups.manifest import FileChoice, Manifest
from gallery.errors import StorageUnavailable
from gallery.management.progress import Bars
from gallery.storage.opening import prove

STDOUT = "-"
NOT_MADE, INTERRUPTED = 2, 130


class Command(BaseCommand):
    help = (
        "Write database and files into one file, beside a running server. Exit status 1: it is "
        "whole, but files were missing or damaged in the gallery already; 2: it was not made."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", metavar="FILE", help="- is standard output")
        parser.add_argument(
            "--files",
            choices=[choice.value for choice in FileChoice],
            default=FileChoice.ALL.value,
            help="all; originals: thumbnails are made anew; list: names and hashes alone, where "
            "the files are kept otherwise; default: all",
        )
        parser.add_argument(
            "--check", action="store_true", help="read FILE to its end and compare every hash"
        )
        parser.add_argument("--replace", action="store_true", help="FILE may be there already")
        parser.add_argument("--threads", type=int, default=8, help="files at once; default: 8")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        if not 1 <= options["threads"] <= 64:
            raise CommandError("--threads must be from 1 to 64.")
        try:
            made = self._check(options) if options["check"] else self._make(options)
        except (BackupError, StorageUnavailable) as error:
            raise CommandError(str(error), returncode=NOT_MADE) from error
        except OSError as error:
            sentence = f"The backup cannot go on: {error.strerror or error}."
            raise CommandError(sentence, returncode=NOT_MADE) from error
        except KeyboardInterrupt as interrupt:
            raise CommandError("Stopped.", returncode=INTERRUPTED) from interrupt
        self._tell(made, options)
        counts = made.file_counts
        if not options["check"] and counts.missing + counts.damaged:
            raise CommandError(
                f"{counts.missing:,} files were missing and {counts.damaged:,} damaged, see above; "
                "the backup is whole but for them."
            )

    def _make(self, options: dict[str, Any]) -> Manifest:
        prove(default_storage)
        backup = Backup(
            storage=default_storage,
            files=FileChoice(options["files"]),
            threads=options["threads"],
            work_dir=Path(settings.DATA_DIR),
            progress=Bars(self.stderr),
        )
        if options["file"] == STDOUT:
            made = backup.write_to(sys.stdout.buffer)
            sys.stdout.buffer.flush()
            return made
        path = Path(options["file"])
        with making.new_file(path, replaces=options["replace"]) as out:
            made = backup.write_to(out)
            making.refuse_worse(made, path)
        return made

    def _check(self, options: dict[str, Any]) -> Manifest:
        with reading.opened(Path(options["file"])) as backup:
            checking.check(backup, threads=options["threads"], progress=Bars(self.stderr))
            return backup.manifest

    def _tell(self, made: Manifest, options: dict[str, Any]) -> None:
        # Standard output may be the backup itself.
        out = self.stderr if options["file"] == STDOUT else self.stdout
        if options["json"]:
            out.write(json.dumps(summary(made)))
            return
        counts, space = made.file_counts, made.active_space
        out.write(
            f"{'Whole' if options['check'] else 'Kept'}: {made.images:,} images, "
            f"{sum(table.rows for table in made.tables):,} rows, {counts.kept:,} files "
            f"({made.files}), {counts.bytes / 1e6:,.1f} MB; "
            f"{len(made.proof.vectors) + len(made.proof.searches)} questions; "
            f"made {made.made_at:%Y-%m-%d %H:%M} UTC."
        )
        if space is not None:
            out.write(f"Encoder: {space.name}, revision {space.revision[:12]}.")
        if made.gone.images:
            n = len(made.gone.images)
            out.write(f"{n:,} images were deleted meanwhile: a restore leaves them out.")


def summary(made: Manifest) -> dict[str, Any]:
    """Return what a manifest says in short."""
    space = made.active_space
    return {
        "id": str(made.id),
        "made_at": made.made_at.isoformat(),
        "images": made.images,
        "images_gone": len(made.gone.images),
        "rows": sum(table.rows for table in made.tables),
        "files": made.files,
        **{f"files_{name}": n for name, n in made.file_counts.model_dump().items()},
        "questions": len(made.proof.vectors) + len(made.proof.searches),
        "encoder": space.name if space else None,
        "revision": space.revision if space else None,
        "storage": made.storage,
    }
