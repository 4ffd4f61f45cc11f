"""A folder that is empty now and was not before: most often its disk is not there.

A process that begins with it sees a sound, empty folder. Only the ledger remembers better.
"""

from __future__ import annotations

from gallery.importers import Skipped, Source, SourceUnreadable
from gallery.imports import listing
from gallery.models import ImportRun

_KEY = "\\@empty"  # no name's key


def check(run: ImportRun, source: Source) -> None:
    """Raise SourceUnreadable for a source that has lost all it had.

    One that is watched may have been emptied by who looks after it, and sees its disk come back:
    it gets a row that says so.
    """
    if not source.is_bare():
        return
    before = _most_found(run)
    if not before:
        return
    said = f"The folder is empty, but an import has found {before:,} files in it before"
    if source.is_endless:
        reason = f"{said}. If its disk is not there, watching goes on when it is."
        listing.write(run, [listing.row_of(Skipped(key=_KEY, reason=reason))])
        return
    raise SourceUnreadable(
        f"{said}. Is its disk there? Go on when it is; if the folder is meant to be empty, there "
        "is nothing to import."
    )


def _most_found(run: ImportRun) -> int:
    """Return how many files the owner's imports of the place have found, this one among them."""
    runs = ImportRun.objects.filter(owner=run.owner_id, place=run.place)
    return max((sum(tally.values()) for tally in runs.values_list("tally", flat=True)), default=0)
