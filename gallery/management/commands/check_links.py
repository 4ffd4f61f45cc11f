"""Look whether the sources of images are still there: `manage.py check_links`."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections import Counter
from contextlib import closing
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone
from tqdm import tqdm

from gallery import link_checks
from gallery.link_checks import Checked
from gallery.models import LinkState

INTERRUPTED = 130  # what a shell expects of a command that Ctrl-C ended


class Command(BaseCommand):
    help = (
        "Look whether the source URLs of images still lead to something, and mark the broken ones. "
        "Broken off, the same command goes on."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--older-than",
            type=float,
            default=30,
            metavar="DAYS",
            help="look again at what was looked at longer ago; 0: at all; default: %(default)s",
        )
        parser.add_argument("--limit", type=int, metavar="N", help="look at so many at most")
        parser.add_argument(
            "--json", action="store_true", help="print a line of JSON for each that does not work"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        limit, days = options["limit"], options["older_than"]
        if limit is not None and limit < 1:
            raise CommandError("--limit must be 1 or more.")
        if not 0 <= days <= 36_500:
            raise CommandError("--older-than must be 0 to 36500 days.")
        images = link_checks.due(checked_before=timezone.now() - timedelta(days=days))
        total = images.count() if limit is None else min(limit, images.count())
        counts: Counter[LinkState] = Counter()
        bar = tqdm(total=total, unit="link", disable=None)
        with bar, closing(link_checks.check_all(images, limit=limit)) as results:
            try:
                for checked in results:
                    counts[checked.state] += 1
                    self._show(checked, bar, as_json=options["json"])
            except KeyboardInterrupt as interrupt:
                raise CommandError(
                    f"Stopped: {_said(counts)} The same command goes on from here.",
                    returncode=INTERRUPTED,
                ) from interrupt
        (self.stderr if options["json"] else self.stdout).write(_said(counts))

    def _show(self, checked: Checked, bar: tqdm[Any], *, as_json: bool) -> None:
        bar.update()
        if checked.state == LinkState.OK:
            return
        bar.clear()
        if as_json:
            self.stdout.write(
                json.dumps(
                    {
                        "image": str(checked.source.uuid),
                        "url": checked.source.url,
                        "state": checked.state,
                        "reason": checked.reason,
                        "at": checked.at.isoformat(),
                    }
                )
            )
        else:
            self.stdout.write(f"{checked.source.url}: {checked.reason}")


def _said(counts: Counter[LinkState]) -> str:
    return (
        f"{counts[LinkState.OK]:,} work, {counts[LinkState.BROKEN]:,} are broken, "
        f"{counts[LinkState.UNREACHABLE]:,} were not reached."
    )
