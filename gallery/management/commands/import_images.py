"""Import many images: `manage.py import_images folder PATH`, and every other kind of source."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from gallery import texts
from gallery.descriptions import Description
from gallery.errors import ImageRefused
from gallery.importers import Source, SourceUnreadable, registry
from gallery.imports import ledger
from gallery.imports.errors import ImportRefused
from gallery.management import source_arguments
from gallery.management.imports import ImportCommand, owner_named
from gallery.models import ImportRun, Visibility


class Command(ImportCommand):
    help = (
        "Import images of any source. Those that are there already stay as they are; a run that "
        "was broken off is gone on with by the same command. Status 1: some failed."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        kinds = parser.add_subparsers(dest="kind", metavar="SOURCE", required=True)
        for kind, source in registry.SOURCES.items():
            summary = (source.__doc__ or "").strip().partition("\n")[0]
            of_kind = kinds.add_parser(kind, help=summary, description=summary, allow_abbrev=False)
            source_arguments.add(of_kind, source)
            self._add_common(of_kind)

    def _add_common(self, parser: ArgumentParser) -> None:
        common = parser.add_argument_group("for every source")
        common.add_argument(
            "--owner", metavar="NAME", help="user who gets the images; default: first superuser"
        )
        common.add_argument("--tag", action="append", default=[], help="tag for all; repeatable")
        common.add_argument("--album", default="", help="album for all; made if there is none")
        common.add_argument(
            "--visibility", choices=Visibility.values, default="", help="who may see them"
        )
        common.add_argument(
            "--dry-run", action="store_true", help="open and check all, and store nothing"
        )
        self.add_wait_argument(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        owner = owner_named(options["owner"])
        kind = options["kind"]
        try:
            source = registry.load(kind, source_arguments.read(registry.SOURCES[kind], options))
        except SourceUnreadable as error:
            raise CommandError(str(error)) from error
        self.import_all(source, owner, options)

    def import_all(self, source: Source, owner: Any, options: dict[str, Any]) -> None:
        """Import a source: begin, or go on where the same command has stopped."""
        run = self._run_of(source, owner, options)
        self.work_on(run)
        self.finish(run, waits=not options["no_wait"])

    def _run_of(self, source: Source, owner: Any, options: dict[str, Any]) -> ImportRun:
        try:
            defaults = Description(
                tags=texts.tags(options["tag"]),
                album=texts.line(options["album"], name="album's name", longest=200),
                visibility=options["visibility"],
            )
        except ImageRefused as error:
            raise CommandError(str(error)) from error
        is_dry_run = options["dry_run"]
        run = ledger.unfinished(source, owner, defaults=defaults, is_dry_run=is_dry_run)
        if run is None:
            return ledger.start(source, owner, defaults=defaults, is_dry_run=is_dry_run)
        self.stdout.write(f"Going on with import {run.pk}.")
        try:
            ledger.resume(run)
        except ImportRefused as error:
            raise CommandError(str(error)) from error
        return run
