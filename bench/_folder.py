"""Rows of importing a folder of many small images, twice: its speed again, and its memory."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from bench import _pictures
from bench import _report as report
from bench._report import Row

if TYPE_CHECKING:
    from gallery.models import ImportRun

SIZE = (64, 48)
NOTE_SECONDS = 0.5
TIMES_FASTER = 20.0  # the second run
TIMES_LARGER = 1.25  # at most: memory of this process at the end, beside that after a tenth


def rows(folder: Path, n: int) -> list[Row]:
    """Import n images and embed them by the bundled encoder, in this process; then again."""
    report.tell(f"writing {n:,} small images")
    _pictures.write(folder, n, SIZE)
    report.tell("importing them")
    megabytes: list[float] = []
    first = report.seconds_of(lambda: bring_in(folder, n, megabytes))
    report.tell("importing them again")
    second = report.seconds_of(lambda: bring_in(folder, 0, []))
    early, end = megabytes[len(megabytes) // 10], megabytes[-1]
    return [
        Row(
            f"folder of {n:,} images, the second run; the first",
            f"{second:,.1f} s",
            f"{first:,.1f} s",
            first / second,
            TIMES_FASTER,
        ),
        Row(
            "memory at its end; after a tenth of it",
            f"{end:,.0f} MB",
            f"{early:,.0f} MB",
            early / end,
            1 / TIMES_LARGER,
        ),
    ]


def bring_in(folder: Path, new: int, megabytes: list[float]) -> None:
    """Run the import of a folder and embed what is new."""
    from django.contrib.auth.models import User

    from gallery import pipeline
    from gallery.importers.folder import Folder
    from gallery.imports import engine, ledger
    from gallery.models import Image, RunState

    owner, _ = User.objects.get_or_create(username="bench")
    before = Image.objects.count()
    run: ImportRun = ledger.start(Folder(path=str(folder)), owner)
    watch = Watch(megabytes)
    engine.work(run, goes_on=watch.look)
    assert run.state == RunState.DONE, run.failure
    assert Image.objects.count() == before + new
    written = pipeline.embed_waiting(goes_on=watch.look)
    assert written == new


class Watch:
    """Notes the memory of this process once in a while."""

    def __init__(self, megabytes: list[float]) -> None:
        self._megabytes = megabytes
        self._noted_at = -NOTE_SECONDS

    def look(self) -> bool:
        now = time.monotonic()
        if now - self._noted_at >= NOTE_SECONDS:
            self._noted_at = now
            self._megabytes.append(psutil.Process().memory_info().rss / 1e6)
        return True
