"""Measure search on the gallery's own images."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from rich.table import Table
from rich.text import Text

from embeddings.errors import EmbeddingsError
from gallery.errors import GalleryError
from gallery.evaluation import Evaluation, Options, evaluate, report
from gallery.evaluation.errors import NotYet
from gallery.management.printing import console_for
from gallery.management.viewers import viewer
from gallery.query import Mode
from gallery.switching import steps

NOT_YET = 3  # exit status: try again in a moment


class Command(BaseCommand):
    help = (
        "Measure how well images are found by words and words by images, how much of the truth "
        "the index finds, and how fast."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "file", nargs="?", type=Path, help="judgements as JSON lines (default: the captions)"
        )
        parser.add_argument(
            "--space", help="number or encoder of another space than the active one"
        )
        parser.add_argument("--mode", default=Mode.SEMANTIC, choices=list(Mode), type=Mode)
        parser.add_argument(
            "--limit",
            type=whole,
            default=1000,
            metavar="N",
            help="queries, drawn at random (default: 1000; 0: all)",
        )
        parser.add_argument("--seed", type=whole, default=0, help="of all that is drawn")
        parser.add_argument(
            "-k",
            "--k",
            type=whole,
            default=10,
            help="neighbours by which index and latency are measured (default: 10)",
        )
        parser.add_argument("--json", action="store_true", help="print the figures as JSON")
        parser.add_argument(
            "--report", type=Path, metavar="DIR", help="write report.md and its plots there"
        )
        parser.add_argument(
            "--as",
            dest="username",
            metavar="USER",
            help="measure what this user may see (default: what the first superuser may)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if not 1 <= options["k"] <= 1000:
            raise CommandError("k must be from 1 to 1000.")
        try:
            evaluation = evaluate(
                Options(
                    viewer=viewer(options["username"]),
                    space=steps.find(options["space"]) if options["space"] else None,
                    file=options["file"],
                    mode=options["mode"],
                    k=options["k"],
                    limit=options["limit"],
                    seed=options["seed"],
                )
            )
        except NotYet as error:
            raise CommandError(str(error), returncode=NOT_YET) from error
        except (GalleryError, EmbeddingsError) as error:
            raise CommandError(str(error)) from error
        for remark in report.remarks(evaluation.judgements):
            self.stderr.write(remark)
        if options["json"]:
            self.stdout.write(json.dumps(evaluation.as_json(), indent=2, allow_nan=False))
        else:
            self.print_tables(evaluation)
        if options["report"] is not None:
            self.write_report(evaluation, options["report"])

    def print_tables(self, evaluation: Evaluation) -> None:
        console = console_for(self.stdout)
        measured = evaluation.performance
        with console.capture() as printed:
            for notice in evaluation.notices:
                console.print(Text(notice), style="yellow")
            console.print(_table(report.quality_rows(evaluation), evaluation.encoder))
            console.print(_table(report.route_rows(evaluation), measured.index))
        self.stdout.write(printed.get(), ending="")

    def write_report(self, evaluation: Evaluation, folder: Path) -> None:
        try:
            report.write(evaluation, folder)
        except OSError as error:
            raise CommandError(f"{folder} cannot be written: {error.strerror}.") from error
        self.stderr.write(f"The report is {folder / report.REPORT}.")


def whole(text: str) -> int:
    if not text.isdecimal() or len(text) > 9:
        raise argparse.ArgumentTypeError("it must be a whole number, from 0 to 999999999")
    return int(text)


def _table(rows: list[report.Row], title: str) -> Table:
    head, *body = rows
    table = Table(title=Text(title), box=None, title_justify="left", padding=(0, 1))
    for number, name in enumerate(head):
        table.add_column(name, justify="left" if number == 0 else "right")
    for row in body:
        table.add_row(*map(Text, row))
    return table
