"""manage.py switch_encoder NAME: fill the space of another encoder, wait, and switch to it."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from embeddings.errors import EmbeddingsError
from embeddings.models import Space
from gallery import spaces
from gallery.errors import GalleryError
from gallery.management.filling import Bar
from gallery.switching import steps
from gallery.switching.progress import progress


class Command(BaseCommand):
    help = (
        "Embed every image and caption with another encoder, beside the present one, and switch "
        "the search to it when all are done: `space fill NAME --wait` and `space switch`. The "
        "worker does it: bin/start must be running. Ended early, the same command goes on."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("encoder", help="bundled, a folder, or a hub id")
        parser.add_argument("--partly", action="store_true", help="although it lacks vectors")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self.switch(options)
        except (GalleryError, EmbeddingsError) as error:
            raise CommandError(str(error)) from error

    def switch(self, options: dict[str, Any]) -> None:
        seen = spaces.active()
        space = steps.fill(options["encoder"])
        if space.state == Space.State.ACTIVE:
            self.stdout.write(f"{space} is the active one already.")
            return
        Bar(self.stderr).wait(space)
        done = steps.switch(space, seen=seen, partly=options["partly"])
        failed = progress(space).failed
        self.stdout.write(
            f"Searches use {space} now. {done.lack.sentence(space)}".rstrip()
            + (f" {failed:,} could not be embedded; the admin says why." if failed else "")
        )
