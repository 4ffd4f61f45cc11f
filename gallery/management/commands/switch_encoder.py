"""manage.py switch_encoder NAME: embed every image with another encoder, then search with it."""

from __future__ import annotations

import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from embeddings.errors import EmbeddingsError
from embeddings.models import Space
from gallery import spaces, tasks
from gallery.models import Image, ImageEmbedding, ImageEmbeddingJob
from gallery.subjects import IMAGES

POLL_SECONDS = 0.5


class Command(BaseCommand):
    help = (
        "Embed every image with another encoder, beside the present one, and switch the search "
        "to it when all are done. The worker does it: bin/start must be running. Ended early, "
        "the same command goes on where it was."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("encoder", help="bundled, a folder, or a hub id")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            space = spaces.begin_filling(options["encoder"])
        except EmbeddingsError as error:
            raise CommandError(str(error)) from error
        if space.state == Space.State.ACTIVE:
            self.stdout.write(f"{space} is the active one already.")
            return
        self.fill(space)
        spaces.switch_to(space)
        parked = ImageEmbeddingJob.objects.filter(space=space).count()
        self.stdout.write(
            f"Searches use {space} now."
            + (f" {parked:,} images could not be embedded; the admin says why." if parked else "")
        )

    def fill(self, space: Space) -> None:
        """Return when every image has its vector in the space, or is parked. Captions follow."""
        vectors = ImageEmbedding.objects.filter(space=space)
        waiting = ImageEmbeddingJob.objects.filter(space=space, failed_at=None)
        with tqdm(total=Image.objects.count(), desc="embedding", unit="image") as bar:
            while waiting.exists() or IMAGES.queue.add_missing(space):
                tasks.wake()
                bar.update(vectors.count() - bar.n)
                time.sleep(POLL_SECONDS)
            bar.update(vectors.count() - bar.n)
