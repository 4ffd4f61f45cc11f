"""Look at imports and steer them: `manage.py imports`."""

from __future__ import annotations

import json
import uuid
from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

from django.core.management.base import CommandError

from gallery.imports import ledger, records
from gallery.imports.errors import ImportRefused
from gallery.imports.records import notice, summary
from gallery.management.imports import ImportCommand
from gallery.models import ImportRun, ItemState

SHOWN = 20


class Command(ImportCommand):
    help = "List imports, show one, pause it, go on, retry what failed, undo it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        doings = parser.add_subparsers(dest="doing", metavar="WHAT", required=True)
        listing = doings.add_parser("list", help="the newest imports")
        listing.add_argument("--limit", type=int, default=SHOWN, help=f"how many; default: {SHOWN}")
        listing.add_argument("--json", action="store_true", help="for programs")
        for doing, text in (
            ("show", "one import, and why items failed"),
            ("pause", "let it stop after the items in progress"),
            ("resume", "go on with a paused or stopped one"),
            ("retry", "try again what has failed"),
            ("undo", "remove all images that it has brought, and nothing else"),
        ):
            one = doings.add_parser(doing, help=text)
            one.add_argument("id", help="number of the import, as `list` tells it")
            one.add_argument("--json", action="store_true", help="for programs")
            if doing in ("resume", "retry", "undo"):
                one.add_argument("--no-wait", action="store_true", help="leave it to the worker")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["doing"] == "list":
            self._list(options)
            return
        run = _run(options["id"])
        doings: dict[str, Callable[[ImportRun, bool], object]] = {
            "show": lambda run, _: None,
            "pause": lambda run, _: ledger.pause(run),
            "resume": lambda run, left: ledger.resume(run, is_unattended=left),
            "retry": lambda run, left: ledger.retry_failed(run, is_unattended=left),
            "undo": lambda run, _: ledger.undo(run),
        }
        is_left = bool(options.get("no_wait"))
        try:
            doings[options["doing"]](run, is_left)
        except ImportRefused as error:
            raise CommandError(str(error)) from error
        if options["doing"] in ("resume", "retry", "undo") and not is_left:
            self.work_on(run)
            if options["doing"] != "undo":
                self.finish(run, waits=False)
        else:
            self._show(run, is_json=options["json"])

    def _list(self, options: dict[str, Any]) -> None:
        runs = ImportRun.objects.select_related("owner")[: max(options["limit"], 1)]
        if options["json"]:
            self.stdout.write(json.dumps([records.of_run(run) for run in runs], indent=2))
            return
        for run in runs:
            self.stdout.write(f"{run.pk:>6}  {run.get_state_display():<12} {run.owner}  {run}")
            self.stdout.write(f"        {summary(run)}")
            if why := notice(run):
                self.stdout.write(f"        {why}")

    def _show(self, run: ImportRun, *, is_json: bool) -> None:
        failed = run.items.filter(state=ItemState.FAILED)
        if is_json:
            told = records.of_run(run) | {"failed": [records.of_item(one) for one in failed[:1000]]}
            self.stdout.write(json.dumps(told, indent=2))
            return
        self.stdout.write(f"{run.pk}  {run.get_state_display()}  {run.owner}  {run}")
        for sentence in filter(None, (run.failure, notice(run))):
            self.stdout.write(sentence)
        self.stdout.write(summary(run))
        for item in failed.iterator():
            self.stdout.write(f"{item.name or item.key}: {item.reason}")


def _run(id_: str) -> ImportRun:
    runs = ImportRun.objects.select_related("owner")
    try:
        found = runs.filter(pk=int(id_)) if id_.isdecimal() else runs.filter(uuid=uuid.UUID(id_))
    except ValueError:
        raise CommandError(f"“{id_}” is no number of an import.") from None
    run = found.first()
    if run is None:
        raise CommandError(f"There is no import {id_}.")
    return run
