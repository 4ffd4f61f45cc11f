"""Fill the demo gallery: `manage.py load_demo`."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from gallery.descriptions import Description
from gallery.importers import SourceUnreadable, demo, registry
from gallery.imports import ledger
from gallery.management.imports import ImportCommand, owner_named


class Command(ImportCommand):
    help = "Draw the demo gallery's scenes and add them; those that are there already stay."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--owner", metavar="NAME", help="user who gets the images; default: first superuser"
        )
        parser.add_argument("--count", type=int, default=demo.COUNT, help="how many scenes")

    def handle(self, *args: Any, **options: Any) -> None:
        owner = owner_named(options["owner"])
        try:
            source = registry.load("demo", {"count": options["count"]})
        except SourceUnreadable as error:
            raise CommandError(str(error)) from error
        run = ledger.unfinished(source, owner, defaults=Description(), is_dry_run=False)
        if run is None:
            run = ledger.start(source, owner)
        ledger.resume(run)
        self.work_on(run)
        self.finish(run, waits=False)
