"""What the commands that take many images in have in common."""

from __future__ import annotations

import time
from argparse import ArgumentParser
from contextlib import closing
from dataclasses import dataclass

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError
from redis.exceptions import RedisError
from tqdm import tqdm

from gallery import worker
from gallery.importers import Importer
from gallery.intake import Defaults, take_in
from gallery.models import Image, State

INTERRUPTED = 130  # what a shell expects of a command that Ctrl-C ended


@dataclass
class Tally:
    """How many items came out how."""

    new: int = 0
    held: int = 0
    refused: int = 0

    def __str__(self) -> str:
        return f"{self.new:,} new, {self.held:,} already there, {self.refused:,} refused."


class IntakeCommand(BaseCommand):
    """A command with an owner, a progress bar and a tally."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--owner", metavar="NAME", help="user who gets the images; default: first superuser"
        )

    def owner(self, name: str | None) -> User:
        if name:
            user = User.objects.filter(username=name).first()
            if user is None:
                raise CommandError(f"There is no user {name}.")
            return user
        superuser = User.objects.filter(is_superuser=True).order_by("pk").first()
        if superuser is None:
            raise CommandError(
                "There is no superuser to own the images: make one by manage.py createsuperuser, "
                "or name a user by --owner."
            )
        return superuser

    def take_in(self, source: Importer, defaults: Defaults) -> Tally:
        """Take in all that the source has; Ctrl-C ends it between two images."""
        tally = Tally()
        bar = tqdm(total=len(source), unit="image", disable=None)
        with bar, closing(take_in(source, defaults)) as outcomes:
            try:
                for outcome in outcomes:
                    tally.new += outcome.is_new
                    tally.refused += bool(outcome.refusal)
                    tally.held += not outcome.is_new and not outcome.refusal
                    if outcome.refusal:
                        bar.clear()
                        self.stderr.write(f"{outcome.name}: {outcome.refusal}")
                    bar.update()
            except KeyboardInterrupt as interrupt:
                raise CommandError(
                    f"Stopped: {tally} The same command goes on from here.",
                    returncode=INTERRUPTED,
                ) from interrupt
        return tally

    def wait_for_worker(self, owner: User) -> None:
        """Show how the owner's images become searchable, for as long as a worker is there."""
        waiting = count_waiting(owner)
        with tqdm(total=waiting, unit="embedding", disable=None) as bar:
            while waiting and _has_worker():
                time.sleep(0.5)
                before, waiting = waiting, count_waiting(owner)
                bar.update(before - waiting)


def count_waiting(owner: User) -> int:
    return Image.objects.filter(owner=owner, state=State.WAITING).count()


def _has_worker() -> bool:
    try:
        return worker.is_alive()
    except RedisError:
        return False
