"""Does everything agree: `manage.py verify`."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from gallery import verification
from gallery.errors import StorageUnavailable
from gallery.models import Image, ImageEmbeddingJob


class Command(BaseCommand):
    help = (
        "Prove that database, files, vectors, jobs, imports and index agree, and say what does "
        "not and what to do. Changes nothing. Exit status 1 when something does not agree, 2 when "
        "the storage cannot be read."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--hash", action="store_true", help="read every original and compare its hash"
        )
        parser.add_argument(
            "--json", action="store_true", help="a JSON object a disagreement, and one for the sum"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        found = 0
        try:
            for one in verification.disagreements(hashes=options["hash"]):
                found += 1
                line = json.dumps(one.to_json()) if options["json"] else f"{one.part}: {one}"
                self.stdout.write(line)
        except StorageUnavailable as error:
            raise CommandError(str(error), returncode=2) from error
        self._sum_up(found, as_json=options["json"])
        if found:
            raise CommandError(f"{found:,} things do not agree.")

    def _sum_up(self, found: int, *, as_json: bool) -> None:
        images = Image.objects.count()
        waiting = ImageEmbeddingJob.objects.filter(failed_at=None).count()
        parked = ImageEmbeddingJob.objects.exclude(failed_at=None).count()
        if as_json:
            sums = {"images": images, "waiting": waiting, "parked": parked, "disagreements": found}
            self.stdout.write(json.dumps(sums))
        elif not found:
            self.stdout.write(
                f"All agree: {images:,} images, of which {waiting:,} wait for a vector and "
                f"{parked:,} have none, with a reason."
            )
