"""Search from the command line, with the same answer as the pages and the API."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError
from PIL.Image import Image as Pixels
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gallery import contact_sheet, inspection, saved_searches
from gallery.api.answers import ExplanationRecord, FacetRecord, SearchAnswer, TotalsRecord
from gallery.decoding import decoders
from gallery.errors import GalleryError
from gallery.facets import FACETS
from gallery.management.printing import console_for
from gallery.management.viewers import viewer
from gallery.models import Visibility
from gallery.query import (
    Aggregate,
    Band,
    Encoders,
    Explanation,
    Facet,
    Mode,
    Order,
    Page,
    PixelsTerm,
    Query,
    Term,
    Totals,
    forms,
)
from gallery.search import explain, facets, search, totals, turn

PARAMETERS = forms.PARAMETERS
USUAL_K = "10"  # what a terminal has room for
NOT_KEPT = (
    "The store of searches (Redis) does not answer, so --page, --totals, --facet and --why cannot "
    "be answered now; the first page can."
)


class Command(BaseCommand):
    help = "Find images by words, by image files, or by images of the gallery. See docs/query.md."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        add_terms(parser)
        add_filter(parser)
        add_ranking(parser)
        parser.add_argument("--page", type=int, default=1, help="a later page (default: 1)")
        parser.add_argument("--saved", metavar="NAME", help="ask a saved search instead")
        parser.add_argument("--save", metavar="NAME", help="keep this search under a name, too")
        parser.add_argument("--totals", action="store_true", help="count the hits by band")
        parser.add_argument(
            "--facet", action="append", default=[], choices=list(FACETS), help="repeatable"
        )
        parser.add_argument("--why", action="store_true", help="say why each hit is there")
        parser.add_argument("--json", action="store_true", help="print what the API answers")
        parser.add_argument(
            "--contact-sheet", type=Path, metavar="FILE.png", help="draw the hits as a picture"
        )
        parser.add_argument(
            "--as",
            dest="username",
            metavar="USER",
            help="search what this user may see (default: what the first superuser may)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self.answer(options)
        except GalleryError as error:
            raise CommandError(str(error)) from error

    def answer(self, options: dict[str, Any]) -> None:
        user = viewer(options["username"])
        query = query_of(options, user)
        if options["save"]:
            saved_searches.save(user, options["save"], query)
        page = search(query, user)
        if not page.search_id and (
            options["page"] != 1 or options["totals"] or options["why"] or options["facet"]
        ):
            raise CommandError(NOT_KEPT)
        if options["page"] != 1:
            page = turn(page.search_id, user, number=options["page"])
        found = Found(page, user, options)
        if options["contact_sheet"]:
            draw_sheet(page, options)
        if options["json"]:
            self.stdout.write(found.as_json())
        else:
            self.stdout.write(found.as_text(console_for(self.stdout)), ending="")


class Found:
    """A page of hits, with what else was asked about it."""

    def __init__(self, page: Page, user: User, options: dict[str, Any]) -> None:
        self.page = page
        self.totals: Totals | None = totals(page.search_id, user) if options["totals"] else None
        names = tuple(options["facet"])
        self.facets: tuple[Facet, ...] = facets(page.search_id, user, names) if names else ()
        self.why: list[Explanation] = []
        if options["why"]:
            self.why = [explain(page.search_id, user, hit.image.uuid) for hit in page.hits]

    def as_json(self) -> str:
        answer = SearchAnswer.of(self.page).model_dump(mode="json")
        if self.totals:
            answer["totals"] = TotalsRecord.of(self.totals).model_dump(mode="json")
        if self.facets:
            answer["facets"] = [FacetRecord.of(one).model_dump(mode="json") for one in self.facets]
        if self.why:
            answer["why"] = [ExplanationRecord.of(one).model_dump(mode="json") for one in self.why]
        return json.dumps(answer, indent=2)

    def as_text(self, console: Console) -> str:
        with console.capture() as printed:
            if self.page.notice:
                console.print(Text(self.page.notice), style="yellow")
            if self.page.unknown_words:
                words = ", ".join(self.page.unknown_words)
                console.print(Text(f"The encoder does not know: {words}"), style="yellow")
            console.print(table_of(self.page) if self.page.hits else nothing(self.page))
            for explanation in self.why:
                console.print(Text(why_line(explanation)), style="dim")
            for facet in self.facets:
                counts = ", ".join(f"{one.label} {one.count:,}" for one in facet.counts)
                console.print(Text(f"{facet.field}: {counts or 'none'}"))
            if self.totals:
                console.print(Text(totals_line(self.totals)))
            console.print(Text(how_line(self.page)), style="dim")
        return printed.get()


def add_terms(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("q", nargs="*", metavar="TEXT", help="words that describe the image")
    parser.add_argument("--weight", action="append", metavar="W", help="of each text, in order")
    parser.add_argument("--without", action="append", metavar="TEXT", help="what it must not show")
    parser.add_argument(
        "--image", action="append", default=[], type=Path, metavar="FILE", help="the like of a file"
    )
    parser.add_argument(
        "--image-weight", action="append", default=[], metavar="W", help="of each file, in order"
    )
    for name, meaning in (
        ("--similar-to", "the like of an image of the gallery"),
        ("--similar-to-weight", "of each, in order"),
        ("--good", "an image that is what is meant"),
        ("--bad", "an image that is not"),
    ):
        metavar = "W" if "weight" in name else "ID"
        parser.add_argument(name, action="append", metavar=metavar, help=meaning)


def add_filter(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tag", action="append", help="repeatable: all of them")
    parser.add_argument("--album")
    parser.add_argument("--taken-after", metavar="YYYY-MM-DD")
    parser.add_argument("--taken-before", metavar="YYYY-MM-DD")
    parser.add_argument("--visibility", choices=Visibility.values)
    parser.add_argument("--filter", metavar="FILTER", help="'tag:boat AND NOT taken<2024'")


def add_ranking(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--mode", choices=list(Mode), metavar="MODE", help=", ".join(Mode))
    parser.add_argument("--legs", metavar="LEGS", help="weights: image:1,caption:0.5,keyword:1")
    parser.add_argument(
        "--aggregate", choices=list(Aggregate), metavar="HOW", help=", ".join(Aggregate)
    )
    parser.add_argument(
        "--encoders", choices=list(Encoders), metavar="WHICH", help=", ".join(Encoders)
    )
    parser.add_argument("--order", metavar="ORDER", help=", ".join(Order))
    parser.add_argument("--diversity", metavar="D", help="from 0 to 1")
    parser.add_argument(
        "--band", choices=list(Band), metavar="BAND", help=f"the least: {', '.join(Band)}"
    )
    parser.add_argument("--min-score", metavar="S", help="the least cosine similarity")
    parser.add_argument("-k", help=f"how many hits a page (default: {USUAL_K})")


def query_of(options: dict[str, Any], user: User) -> Query:
    given = {name: options[name] for name in PARAMETERS if options.get(name) not in (None, [])}
    if options["saved"]:
        if given or options["image"] or options["image_weight"]:
            raise CommandError(
                "--saved asks a saved search as it is: nothing else can be asked beside it."
            )
        return saved_searches.query_of(saved_searches.find(user, options["saved"]))
    given.setdefault("k", USUAL_K)
    lists = {
        name: [str(one) for one in value] if isinstance(value, list) else [str(value)]
        for name, value in given.items()
    }
    return forms.from_parameters(lists, terms=shown_terms(options))


def shown_terms(options: dict[str, Any]) -> tuple[Term, ...]:
    """Return the image files as terms; one without a weight has 1."""
    files, weights = options["image"], options["image_weight"]
    if len(weights) > len(files):
        raise CommandError("There are more --image-weight than --image: each belongs to one.")
    try:
        filled = [*map(float, weights), *[1.0] * (len(files) - len(weights))]
    except ValueError as error:
        raise CommandError("--image-weight must be a number.") from error
    return tuple(
        PixelsTerm(read_pixels(path), weight) for path, weight in zip(files, filled, strict=True)
    )


def read_pixels(path: Path) -> Pixels:
    try:
        with path.open("rb") as file:
            return decoders.open_new(file, edge=inspection.QUERY_EDGE)
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}.") from error


def draw_sheet(page: Page, options: dict[str, Any]) -> None:
    path: Path = options["contact_sheet"]
    title = options["saved"] or " + ".join(options["q"]) or "Images like the one shown"
    try:
        contact_sheet.draw(page.hits, title).save(path, "PNG")
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error.strerror or error}.") from error


def table_of(page: Page) -> Table:
    # Captions and names come from people: as Text, nothing in them is read as markup.
    table = Table("rank", "score", "band", "caption", "file name", "id", box=None)
    for column in (0, 1):
        table.columns[column].justify = "right"
    table.columns[5].no_wrap = True
    for hit in page.hits:
        image = hit.image
        table.add_row(
            str(hit.rank),
            f"{hit.score:.3f}",
            str(hit.band),
            Text(image.caption),
            Text(image.original_name),
            str(image.uuid),
        )
    return table


def nothing(page: Page) -> str:
    if page.number > 1:
        return "Nothing is left on this page."
    return "No image was found. With --band unlikely, those that are hardly like it come too."


def why_line(why: Explanation) -> str:
    terms = [f"{one.term} {one.share:+.3f}" for one in why.terms]
    legs = [
        f"{one.leg}{f' of {one.encoder}' if one.encoder else ''} rank {one.rank or '-'} "
        f"{one.share:+.4f}"
        for one in why.legs
    ]
    return f"{why.hit.rank}: {'; '.join([*terms, *legs, *why.conditions])}"


def totals_line(found: Totals) -> str:
    bands = ", ".join(f"{count:,} {band}" for band, count in found.by_band.items())
    return f"{'More than ' if found.is_capped else ''}{found.total:,} hits; {bands}."


def how_line(page: Page) -> str:
    ways = []
    for leg in page.legs:
        plan = leg.plan
        quality = "exact" if plan.exact else f"recall {plan.recall or 0:.3f}"
        of = f" of {leg.encoder}" if leg.encoder else ""
        ways.append(f"{leg.leg}{of} by {plan.route} ({plan.reason or quality})")
    more = f"; --page {page.number + 1} has more" if page.has_more else ""
    return f"{len(page.hits)} hits in {page.took_ms:.0f} ms: {', '.join(ways)}{more}."
