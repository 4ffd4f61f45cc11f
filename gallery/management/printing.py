"""What commands print tables with."""

from __future__ import annotations

from django.core.management.base import OutputWrapper
from rich.console import Console

# Columns where there is no terminal: whoever cuts a table up wants a row on one line.
NO_END = 10_000


def console_for(stdout: OutputWrapper) -> Console:
    """Return a console as wide as the terminal; as wide as any table where there is none."""
    return Console(highlight=False, width=None if stdout.isatty() else NO_END)
