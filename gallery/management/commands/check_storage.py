"""Do rows and files agree: `manage.py check_storage`."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterator
from typing import Any

from django.core.files.storage import default_storage
from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from gallery.errors import StorageUnavailable
from gallery.storage import outside
from gallery.storage.checking import Check, Finding, OrphansTooMany
from gallery.storage.listings import count_named_files
from gallery.storage.opening import prove


class Command(BaseCommand):
    help = (
        "Find files that no row names, and rows whose files are missing or of another size. "
        "Exit status 1 when something is wrong and not repaired."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--repair",
            action="store_true",
            help="delete orphaned files older than an hour, make missing thumbnails anew",
        )
        parser.add_argument(
            "--all",
            action="store_true",
            help="with --repair: delete orphaned files even when they are more than a tenth",
        )
        parser.add_argument(
            "--hash", action="store_true", help="read every original and compare its hash"
        )
        parser.add_argument("--threads", type=int, default=8, help="of --hash; default: 8")
        parser.add_argument(
            "--json", action="store_true", help="a JSON object a finding, and one for the sum"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if not 1 <= options["threads"] <= 64:
            raise CommandError("--threads must be from 1 to 64.")
        check = Check(
            storage=default_storage,
            repairs=options["repair"],
            hashes=options["hash"],
            threads=options["threads"],
            deletes_many=options["all"],
        )
        tally: Counter[str] = Counter()
        try:
            prove(default_storage)
            for finding in self._findings(check):
                tally[finding.wrong] += 1
                tally["repaired"] += finding.is_repaired
                self.stdout.write(
                    json.dumps(finding.to_json()) if options["json"] else _line(finding)
                )
        except (StorageUnavailable, OrphansTooMany) as error:
            if tally:  # found, and perhaps repaired, before
                self._sum_up(tally, as_json=options["json"])
            raise CommandError(str(error), returncode=2) from error
        left = self._sum_up(tally, as_json=options["json"])
        if left:
            raise CommandError(f"{left:,} wrong and not repaired.")

    def _findings(self, check: Check) -> Iterator[Finding]:
        with tqdm(total=count_named_files() + outside.count(), unit="file", disable=None) as bar:
            for findings in check.run():
                bar.update()
                if findings:
                    bar.clear()
                yield from findings

    def _sum_up(self, tally: Counter[str], *, as_json: bool) -> int:
        """Say how much was found; return how much of it is still wrong."""
        found = {name: tally[name] for name in ("orphaned", "missing", "damaged", "repaired")}
        if as_json:
            self.stdout.write(json.dumps(found))
        else:
            self.stdout.write(", ".join(f"{n:,} {name}" for name, n in found.items()) + ".")
        return sum(found.values()) - 2 * found["repaired"]


def _line(finding: Finding) -> str:
    row = f" ({finding.field} of {finding.id})" if finding.id else ""
    wrong = f"{finding.wrong}, repaired" if finding.is_repaired else finding.wrong
    return f"{wrong}: {finding.name}{row}: {finding.reason}"
