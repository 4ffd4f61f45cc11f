"""Compare all images of one owner, or of everybody, with each other."""

from __future__ import annotations

import argparse
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from gallery.duplicates import finding, missing, review, waiting
from gallery.models import Image


class Command(BaseCommand):
    help = (
        "Compare all images with each other: those of the same pixels, of near perceptual hashes "
        "and of near vectors become groups on the page of duplicates. What was decided stays."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--owner", metavar="NAME", help="of this user only; default: of all")
        parser.add_argument(
            "--hashes-only",
            action="store_true",
            help="do not look for the neighbours of every vector: seconds in place of minutes",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        owners = User.objects.filter(images__isnull=False).distinct().order_by("pk")
        if options["owner"]:
            owners = owners.filter(username=options["owner"])
            if not owners:
                raise CommandError(f"No user {options['owner']} has images.")
        waiting.compare_waiting()
        for owner in owners:
            images = Image.objects.filter(owner=owner)
            self._complete(owner)
            with tqdm(total=images.count(), unit="image", disable=None) as bar:
                advance = None if options["hashes_only"] else bar.update
                finding.compare_all(owner.pk, advance=advance)
            groups = review.groups_of(owner).filter(owner=owner).count()
            self.stdout.write(f"{owner}: {groups:,} groups to decide about.")

    def _complete(self, owner: User) -> None:
        """Compute what images have not that came in before there was such a comparison."""
        rows = missing.images_of(owner.pk)
        with tqdm(total=len(rows), unit="file", disable=None) as bar:
            for reason in missing.complete(rows):
                if reason:
                    self.stderr.write(reason)
                bar.update()
