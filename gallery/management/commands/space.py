"""Encoders and their spaces from the command line: `manage.py space`."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from rich.table import Table
from rich.text import Text

from embeddings.errors import EmbeddingsError
from embeddings.models import Space
from gallery import spaces
from gallery.errors import GalleryError
from gallery.management.filling import Bar
from gallery.management.printing import console_for
from gallery.management.viewers import viewer
from gallery.switching import comparing, questions, records, steps
from gallery.switching.comparing import Comparison
from gallery.templatetags.spans import span

NONE_TO_GO_BACK_TO = "There is no space to go back to: none was active before and is still kept."


class Command(BaseCommand):
    help = (
        "List spaces, fill one with another encoder in the background, compare it with the active "
        "one, switch, go back, retire. See docs/encoders.md."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        doings = parser.add_subparsers(dest="doing", metavar="WHAT", required=True)

        def doing(name: str, text: str) -> ArgumentParser:
            one: ArgumentParser = doings.add_parser(name, help=text, description=text)
            one.add_argument("--json", action="store_true", help="for programs")
            return one

        doing("list", "all spaces, how far they are filled and what they cost")
        fill = doing("fill", "embed everything with another encoder, beside the active one")
        fill.add_argument("encoder", help="bundled, a folder, or a hub id")
        fill.add_argument("--wait", action="store_true", help="until it is filled")
        doing("pause", "let no worker embed for it").add_argument("space", nargs="?")
        doing("resume", "let workers go on").add_argument("space", nargs="?")
        add_comparing(doing("compare", "what both find for your own queries"))
        switch = doing("switch", "let searches use it from now on")
        switch.add_argument("space", nargs="?")
        back = doing("back", "return to the space that was active before")
        for one in (switch, back):
            one.add_argument("--partly", action="store_true", help="although it lacks vectors")
        doing("retire", "give it up, and remove it in the background").add_argument("space")

    def handle(self, *args: Any, **options: Any) -> None:
        doings: dict[str, Callable[[dict[str, Any]], None]] = {
            "list": self.list,
            "fill": self.fill,
            "pause": lambda given: self.change(steps.pause, given),
            "resume": lambda given: self.change(steps.resume, given),
            "compare": self.compare,
            "switch": lambda given: self.switch(_space(given), given),
            "back": self.back,
            "retire": lambda given: self.change(steps.retire, given),
        }
        try:
            doings[options["doing"]](options)
        except (GalleryError, EmbeddingsError) as error:
            raise CommandError(str(error)) from error

    def list(self, options: dict[str, Any]) -> None:
        told = [records.of_space(space) for space in records.all_spaces()]
        if options["json"]:
            self.stdout.write(json.dumps(told, indent=2))
            return
        self.show(_table_of(told))
        for one in told:
            if one["notice"]:
                self.stdout.write(f"{one['number']}: {one['notice']}")

    def fill(self, options: dict[str, Any]) -> None:
        space = steps.fill(options["encoder"])
        if options["wait"]:
            Bar(self.stderr).wait(space)
        self.tell(space, options)

    def change(self, do: Callable[[Space], None], options: dict[str, Any]) -> None:
        space = _space(options)
        do(space)
        if Space.objects.filter(pk=space.pk).exists():
            self.tell(space, options)
        else:  # nothing was known of its encoder yet
            self.stdout.write("null" if options["json"] else f"{space} is given up.")

    def switch(self, space: Space, options: dict[str, Any]) -> None:
        done = steps.switch(space, seen=spaces.active(), partly=options["partly"])
        if options["json"]:
            self.stdout.write(json.dumps(records.of_space(done.now), indent=2))
            return
        self.stdout.write(f"Searches use {done.now} now. {done.lack.sentence(done.now)}".rstrip())
        if done.before is not None:
            self.stdout.write(
                f"{done.before} is kept up to date: “space back” returns to it, "
                f"“space retire {done.before.pk}” removes it."
            )

    def back(self, options: dict[str, Any]) -> None:
        former = steps.former()
        if former is None:
            raise CommandError(NONE_TO_GO_BACK_TO)
        self.switch(former, options)

    def compare(self, options: dict[str, Any]) -> None:
        user = viewer(options["username"])
        asked = questions.of(
            user,
            texts=options["query"],
            origins=options["origins"] or ([] if options["query"] else list(questions.Origin)),
            at_most=options["limit"],
        )
        compared = comparing.compare(asked, user, other=_space(options), k=options["k"])
        if options["json"]:
            self.stdout.write(json.dumps(compared.as_json(), indent=2))
        else:
            self.show(_table_of_queries(compared))
            for sentence in filter(None, (compared.lack_sentence, compared.sentence)):
                self.stdout.write(sentence)

    def tell(self, space: Space, options: dict[str, Any]) -> None:
        told = records.of_space(space)
        if options["json"]:
            self.stdout.write(json.dumps(told, indent=2))
            return
        self.stdout.write(f"{told['number']}  {told['encoder']}: {told['state']}. {_far(told)}")
        if told["notice"]:
            self.stdout.write(told["notice"])

    def show(self, table: Table) -> None:
        console = console_for(self.stdout)
        with console.capture() as printed:
            console.print(table)
        self.stdout.write(printed.get(), ending="")


def add_comparing(parser: ArgumentParser) -> None:
    parser.add_argument("query", nargs="*", metavar="TEXT", help="words to compare by")
    parser.add_argument("--space", help="with the active one (default: the one beside it)")
    parser.add_argument(
        "--of",
        action="append",
        dest="origins",
        choices=list(questions.Origin),
        type=questions.Origin,
        help="which queries, repeatable (default: all, unless texts are given)",
    )
    parser.add_argument("-k", type=int, default=10, help="hits that are compared (default: 10)")
    parser.add_argument("--limit", type=int, default=100, help="queries at most (default: 100)")
    parser.add_argument("--as", dest="username", metavar="USER", help="whose searches and rights")


def _space(options: dict[str, Any]) -> Space:
    """Return the space that was named, else the one beside the active one."""
    if options["space"]:
        return steps.find(options["space"])
    space = spaces.beside()
    if space is None:
        raise CommandError("There is no space beside the active one: “space fill NAME” makes one.")
    return space


def _table_of(told: list[dict[str, Any]]) -> Table:
    headings = ("number", "encoder", "state", "images", "captions", "speed", "left", "disk")
    table = Table(*headings, box=None)
    for one in told:
        counts = one["counts"]
        speed = sum(count["per_second"] for count in counts.values())
        left = one["seconds_left"]
        table.add_row(
            str(one["number"]),
            Text(" @ ".join(filter(None, (one["encoder"], one["revision"][:12])))),
            one["state"],
            *(_share(counts[kind]) for kind in ("images", "captions")),
            f"{speed:,.1f}/s" if speed and left else "",
            span(left) if left else "",
            f"{(one['vector_bytes'] + one['index_bytes']) / 1e6:,.1f} MB",
        )
    return table


def _share(count: dict[str, Any]) -> str:
    failed = f", {count['failed']:,} failed" if count["failed"] else ""
    return f"{count['embedded']:,} of {count['total']:,}{failed}"


def _far(told: dict[str, Any]) -> str:
    counts = told["counts"].items()
    return "; ".join(f"{kind} {_share(count)}" for kind, count in counts) + "."


def _table_of_queries(compared: Comparison) -> Table:
    table = Table("query", f"overlap@{compared.k}", "new", "gone", "moved", "first", box=None)
    for one in compared.queries:
        first = "the same" if one.has_same_first else "another"
        table.add_row(
            Text(one.name),
            f"{one.overlap:.0%}",
            str(one.new),
            str(one.gone),
            f"{one.moved:.1f}",
            first if one.left and one.right else "none",
        )
    return table
