"""Search from the command line, with the same answer as the pages and the API."""

from __future__ import annotations

import argparse
import uuid
from datetime import date
from pathlib import Path
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError
from PIL.Image import Image as Pixels
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gallery import inspection, spaces
from gallery.api.schemas import SearchAnswer
from gallery.errors import GalleryError
from gallery.models import Visibility
from gallery.query import ImageTerm, Page, PixelsTerm, Query, Term, TextTerm, conditions
from gallery.search import search


class Command(BaseCommand):
    help = "Find images by words, by an image file, or by an image of the gallery."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("text", nargs="?", help="words that describe the wanted image")
        parser.add_argument("--image", type=Path, metavar="FILE", help="find the like of a file")
        parser.add_argument("--similar-to", type=uuid.UUID, metavar="ID")
        parser.add_argument("--tag", action="append", default=[], help="repeatable: all of them")
        parser.add_argument("--album", default="")
        parser.add_argument("--taken-after", type=day, metavar="YYYY-MM-DD")
        parser.add_argument("--taken-before", type=day, metavar="YYYY-MM-DD")
        parser.add_argument("--visibility", default="", choices=Visibility.values)
        parser.add_argument("-k", type=int, default=10, help="how many hits (default: 10)")
        parser.add_argument("--json", action="store_true", help="print what the API answers")
        parser.add_argument(
            "--as",
            dest="username",
            metavar="USER",
            help="search what this user may see (default: what the first superuser may)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            page = search(query_of(options), viewer(options["username"]))
        except GalleryError as error:
            raise CommandError(str(error)) from error
        if options["json"]:
            self.stdout.write(SearchAnswer.of(page).model_dump_json(indent=2))
        else:
            self.print_table(page)

    def print_table(self, page: Page) -> None:
        console = Console(highlight=False)
        with console.capture() as printed:
            if notice := spaces.notice():
                console.print(Text(notice), style="yellow")
            if page.unknown_words:
                words = ", ".join(page.unknown_words)
                console.print(Text(f"The encoder does not know: {words}"), style="yellow")
            console.print(table_of(page) if page.hits else "No image was found.")
            console.print(
                Text(f"{len(page.hits)} hits in {page.took_ms:.0f} ms, by {page.plan.route}."),
                style="dim",
            )
        self.stdout.write(printed.get(), ending="")


def day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError("a day is written like 2024-12-31") from None


def query_of(options: dict[str, Any]) -> Query:
    terms: list[Term] = []
    if options["text"] is not None:
        terms.append(TextTerm(options["text"]))
    if options["image"] is not None:
        terms.append(PixelsTerm(read_pixels(options["image"])))
    if options["similar_to"] is not None:
        terms.append(ImageTerm(options["similar_to"]))
    kept = conditions(
        tags=tuple(options["tag"]),
        album=options["album"],
        taken_after=options["taken_after"],
        taken_before=options["taken_before"],
        visibility=options["visibility"],
    )
    return Query(terms=tuple(terms), filter=kept, k=options["k"])


def read_pixels(path: Path) -> Pixels:
    try:
        with path.open("rb") as file:
            return inspection.open_image(file, edge=inspection.QUERY_EDGE).pixels
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}.") from error


def viewer(username: str | None) -> User:
    """Return the user with this name; without one the first superuser, because whoever runs
    commands here can read everything anyhow.
    """
    if username is None:
        user = User.objects.filter(is_superuser=True, is_active=True).order_by("pk").first()
        if user is None:
            raise CommandError("There is no superuser yet: run manage.py prepare, or name --as.")
        return user
    try:
        return User.objects.get(username=username, is_active=True)
    except User.DoesNotExist as error:
        raise CommandError(f"There is no active user {username}.") from error


def table_of(page: Page) -> Table:
    # Captions and names come from people: as Text, nothing in them is read as markup.
    table = Table("rank", "score", "caption", "file name", "id", box=None)
    for column in (0, 1):
        table.columns[column].justify = "right"
    table.columns[4].no_wrap = True
    for hit in page.hits:
        image = hit.image
        table.add_row(
            str(hit.rank),
            f"{hit.score:.3f}",
            Text(image.caption),
            Text(image.original_name),
            str(image.uuid),
        )
    return table
