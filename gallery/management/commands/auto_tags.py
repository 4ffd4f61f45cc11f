"""Make, look at and run auto tags: `manage.py auto_tags`."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError

from embeddings.errors import EncoderUnavailable
from gallery.api.auto_tags import AutoTagRecord
from gallery.auto_tags import changes, encoding, passes, review, wording
from gallery.auto_tags.calibration import Precision
from gallery.auto_tags.changes import Setting
from gallery.errors import GalleryError
from gallery.management.viewers import viewer
from gallery.models import AutoTag, TagMode

MOST_BYTES = 10_000_000  # of a list


class Command(BaseCommand):
    help = "List auto tags, make and delete them, compare images with them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        doings = parser.add_subparsers(dest="doing", metavar="WHAT", required=True)
        listing = doings.add_parser("list", help="auto tags with their figures")
        listing.add_argument("--json", action="store_true", help="for programs")
        adding = doings.add_parser("add", help="make one")
        adding.add_argument("name", help="of the tag")
        adding.add_argument("--prompt", action="append", default=[], help="repeatable")
        adding.add_argument("--template", action="append", default=[], help="repeatable, with {}")
        adding.add_argument("--apply", action="store_true", help="apply it where it is likely")
        adding.add_argument("--precision", type=float, default=0.9, help="that is wanted")
        loading = doings.add_parser(
            "load", help="make all of a list: a line each, as NAME or NAME: PROMPT | PROMPT"
        )
        loading.add_argument("file", type=Path)
        loading.add_argument("--apply", action="store_true", help="apply them where likely")
        deleting = doings.add_parser("delete", help="delete one")
        deleting.add_argument("name")
        deleting.add_argument(
            "--leave-tags", action="store_true", help="where nobody answered, too"
        )
        doings.add_parser("run", help="encode prompts and compare images now, without a worker")
        for one in (listing, adding, loading, deleting):
            one.add_argument("--as", dest="user", metavar="USER", help="default: the first admin")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            getattr(self, f"_{options['doing']}")(options)
        except (GalleryError, EncoderUnavailable) as error:
            raise CommandError(str(error)) from error

    def _list(self, options: dict[str, Any]) -> None:
        told = review.tell(viewer(options["user"]).auto_tags.select_related("tag"))
        if options["json"]:
            records = [AutoTagRecord.of(one).model_dump(mode="json") for one in told]
            self.stdout.write(json.dumps(records, indent=2))
            return
        for one in told:
            counts = f"{one.open:>6,} open {one.applied:>7,} applied"
            answers = f"{one.accepted:>6,} accepted {one.rejected:>6,} rejected"
            self.stdout.write(f"{counts} {answers}  {one.auto_tag}{_share(one.precision)}")

    def _add(self, options: dict[str, Any]) -> None:
        setting = Setting(
            wording=wording.read(options["prompt"] or [options["name"]], options["template"]),
            mode=_mode(options),
            wanted_precision=options["precision"],
        )
        auto_tag = changes.make(viewer(options["user"]), options["name"], setting)
        self.stdout.write(f"“{auto_tag}” is kept; the worker compares images with it.")

    def _load(self, options: dict[str, Any]) -> None:
        """Make those of the list that are not there yet; the others stay as they are."""
        owner = viewer(options["user"])
        known = set(owner.auto_tags.values_list("tag__name", flat=True))
        made = 0
        for number, line in enumerate(_lines(options["file"]), 1):
            name, _, prompts = line.partition(":")
            if not name.strip() or line.startswith("#"):
                continue
            try:
                made += self._make(owner, name, prompts, options, known)
            except GalleryError as error:
                raise CommandError(f"Line {number}: {error}") from error
        self.stdout.write(f"{made:,} auto tags are new; the worker compares images with them.")

    def _make(
        self, owner: User, name: str, prompts: str, options: dict[str, Any], known: set[str]
    ) -> int:
        checked = changes.checked_name(name)
        if checked in known:
            return 0
        said = [prompt for prompt in prompts.split("|") if prompt.strip()]
        setting = Setting(wording=wording.read(said or [checked]), mode=_mode(options))
        changes.make(owner, checked, setting)
        known.add(checked)
        return 1

    def _delete(self, options: dict[str, Any]) -> None:
        name = changes.checked_name(options["name"])
        auto_tag = viewer(options["user"]).auto_tags.filter(tag__name=name).first()
        if auto_tag is None:
            raise CommandError(f"There is no auto tag “{name}” of that user.")
        if options["leave_tags"]:
            changes.delete_leaving_tags(auto_tag)
        else:
            changes.delete(auto_tag)
        self.stdout.write(f"“{name}” is deleted.")

    def _run(self, options: dict[str, Any]) -> None:
        encoded = encoding.encode_waiting()
        changed = passes.run()
        self.stdout.write(
            f"The prompts of {encoded:,} of {AutoTag.objects.count():,} auto tags were encoded; "
            f"{changed:,} suggestions changed."
        )


def _share(precision: Precision | None) -> str:
    if precision is None:
        return ""
    return f"  {precision.value:.0%} ({precision.low:.0%} to {precision.high:.0%})"


def _mode(options: dict[str, Any]) -> str:
    return TagMode.APPLY if options["apply"] else TagMode.SUGGEST


def _lines(file: Path) -> list[str]:
    try:
        if file.stat().st_size > MOST_BYTES:
            raise CommandError(f"{file} is too large for a list of auto tags.")
        return file.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{file} cannot be read as a list: {error}") from error
