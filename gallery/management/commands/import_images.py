"""Import many images: `manage.py import_images folder PATH`."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from gallery.importers.folder import Folder
from gallery.intake import Defaults
from gallery.management.intake import IntakeCommand, count_waiting
from gallery.models import Visibility

IMPORTERS = {"folder": Folder}


class Command(IntakeCommand):
    help = "Import images; those that are there already stay as they are."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("importer", choices=sorted(IMPORTERS), help="kind of source")
        parser.add_argument("path", type=Path, help="where the source is")
        parser.add_argument("--tag", action="append", default=[], help="tag for all; repeatable")
        parser.add_argument("--album", default="", help="album for all; made if there is none")
        parser.add_argument(
            "--visibility", choices=Visibility.values, default="", help="who may see them"
        )
        parser.add_argument(
            "--no-wait", action="store_true", help="end before the images are embedded"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        owner = self.owner(options["owner"])
        try:
            source = IMPORTERS[options["importer"]](options["path"])
        except OSError as error:
            raise CommandError(str(error)) from error
        defaults = Defaults(
            owner=owner,
            tags=tuple(options["tag"]),
            album=options["album"],
            visibility=options["visibility"],
        )
        self.stdout.write(str(self.take_in(source, defaults)))
        if not options["no_wait"]:
            self.wait_for_worker(owner)
        if waiting := count_waiting(owner):
            self.stdout.write(f"{waiting:,} wait for the worker to embed them.")
