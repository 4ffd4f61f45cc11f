"""Copy all files to another storage: `manage.py move_storage FROM TO`."""

from __future__ import annotations

from argparse import ArgumentParser
from collections import Counter
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.files.storage import Storage
from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from gallery.errors import StorageUnavailable
from gallery.storage.listings import count_named_files
from gallery.storage.moving import Fate, Move
from gallery.storage.opening import is_in_use, open_storage

INTERRUPTED = 130  # what a shell expects of a command that Ctrl-C ended


class Command(BaseCommand):
    help = (
        "Copy the files of all images to another storage and prove each by its hash. The same "
        "command again copies what is missing. Afterwards set STORAGE_URL."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        place = "a folder, s3://bucket/prefix?options, or local for DATA_DIR/media"
        parser.add_argument("source", metavar="FROM", help=place)
        parser.add_argument("target", metavar="TO", help=place)
        parser.add_argument("--threads", type=int, default=8, help="files at once; default: 8")
        parser.add_argument(
            "--delete", action="store_true", help="delete from FROM what TO proved to have"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if not 1 <= options["threads"] <= 64:
            raise CommandError("--threads must be from 1 to 64.")
        try:
            source, target = open_storage(options["source"]), open_storage(options["target"])
            _refuse_to_delete_what_is_used(source, deletes=options["delete"])
            move = Move(
                source=source,
                target=target,
                state_dir=Path(settings.DATA_DIR),
                threads=options["threads"],
                deletes=options["delete"],
            )
            tally = self._run(move)
        except StorageUnavailable as error:
            raise CommandError(str(error)) from error
        self.stdout.write(_told(tally))
        if tally[Fate.FAILED]:
            raise CommandError("Not all files are there. The same command tries them again.")

    def _run(self, move: Move) -> Counter[Fate]:
        tally: Counter[Fate] = Counter()
        with tqdm(total=count_named_files(), unit="file", disable=None) as bar:
            try:
                for moved in move.run():
                    tally[moved.fate] += 1
                    if moved.reason:
                        bar.clear()
                        self.stderr.write(f"{moved.name}: {moved.reason}.")
                    bar.update()
            except KeyboardInterrupt as interrupt:
                raise CommandError(
                    f"Stopped: {_told(tally)} The same command goes on from here.",
                    returncode=INTERRUPTED,
                ) from interrupt
        return tally


def _refuse_to_delete_what_is_used(source: Storage, *, deletes: bool) -> None:
    if deletes and is_in_use(source):
        raise CommandError(
            "FROM is the storage of STORAGE_URL: set that to TO and start the server anew "
            "before anything is deleted."
        )


def _told(tally: Counter[Fate]) -> str:
    return (
        f"{tally[Fate.COPIED]:,} copied, {tally[Fate.HELD]:,} already there, "
        f"{tally[Fate.FAILED]:,} failed."
    )
