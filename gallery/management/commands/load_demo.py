"""Fill the demo gallery: `manage.py load_demo`."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from gallery import demo
from gallery.intake import Defaults
from gallery.management.intake import IntakeCommand


class Command(IntakeCommand):
    help = "Draw the demo gallery's scenes and add them; those that are there already stay."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--count", type=int, default=demo.COUNT, help="how many scenes")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["count"] < 0:
            raise CommandError("--count must not be negative.")
        owner = self.owner(options["owner"])
        scenes = demo.Demo(owner, count=options["count"])
        if not len(scenes):
            self.stdout.write("The demo gallery is complete.")
            return
        self.stdout.write(str(self.take_in(scenes, Defaults(owner=owner))))
