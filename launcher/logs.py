"""Log files of the children, one for each, never larger than a few megabytes for long."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

LARGEST_BYTES = 5_000_000
TAIL_BYTES = 4_000
ERROR = re.compile(r"(error|fatal|panic):", re.IGNORECASE)


def rotate(path: Path) -> None:
    """Put what a large log holds aside as NAME.log.1, and empty it.

    The file stays the same one, so a child that has it open for appending writes on.
    """
    if path.exists() and path.stat().st_size > LARGEST_BYTES:
        shutil.copyfile(path, path.with_name(path.name + ".1"))
        os.truncate(path, 0)


def last_words(path: Path) -> str:
    """The last line that tells of an error, or else the last one, for a sentence."""
    lines = tail(path, lines=20)
    if not lines:
        return "it wrote nothing"
    # Many say more after the reason: that they tidy up, that they end.
    return next((line for line in reversed(lines) if ERROR.search(line)), lines[-1]).strip()


def tail(path: Path, *, lines: int = 10) -> list[str]:
    if not path.exists():
        return []
    with path.open("rb") as log:
        log.seek(max(0, path.stat().st_size - TAIL_BYTES))
        text = log.read().decode(errors="replace")
    return [line.rstrip() for line in text.split("\n") if line.strip()][-lines:]
