"""manage.py build_index: read all vectors from Postgres and publish new snapshots."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from embeddings import feed, snapshots
from embeddings.errors import EmbeddingsError
from embeddings.indexes import kinds
from embeddings.models import AbstractEmbedding, Snapshot, Space

HEADINGS = ("table", "space", "vectors", "kind", "effort", "recall@10", "ms", "MB", "seconds")


class Command(BaseCommand):
    help = "Build the index of every vector table, or of one, anew from Postgres."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--kind", choices=kinds.NAMES, help="Its kind; else INDEX_KIND's.")
        parser.add_argument("--table", help="Name of one vector table; else all of them.")

    def handle(self, *args: Any, **options: Any) -> None:
        rows = [
            _cells(self.built(model, space, options["kind"]))
            for model in _tables(options["table"])
            for space in Space.in_use()
        ]
        widths = [max(map(len, column)) for column in zip(HEADINGS, *rows, strict=True)]
        for row in (HEADINGS, *rows):
            cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
            self.stdout.write("  ".join(cells).rstrip())

    def built(self, model: type[AbstractEmbedding], space: Space, kind: str | None) -> Snapshot:
        table = model._meta.db_table
        try:
            snapshot = snapshots.build(model, space, kind=kind)
        except (EmbeddingsError, DatabaseError, OSError, MemoryError) as error:
            raise CommandError(f"{table} in {space} could not be built: {error}") from error
        if snapshot is None:
            raise CommandError(f"{table} in {space} is being built right now; try again then.")
        asked = kind or snapshot.wanted
        if snapshot.kind != asked:
            self.stderr.write(
                f"{table} in {space}: {asked} would not serve, so it became {snapshot.kind} "
                "(too few vectors, or a recall below INDEX_RECALL)."
            )
        return snapshot


def _tables(name: str | None) -> list[type[AbstractEmbedding]]:
    models = feed.vector_tables()
    chosen = [model for model in models if name in (None, model._meta.db_table)]
    if not chosen:
        there = ", ".join(model._meta.db_table for model in models)
        raise CommandError(f"{name} is no vector table; there are: {there}.")
    return chosen


def _cells(snapshot: Snapshot) -> tuple[str, ...]:
    milliseconds = [ms for effort, _, ms in snapshot.curve if effort == snapshot.effort]
    return (
        snapshot.table,
        str(snapshot.space),
        f"{snapshot.vectors:,}",
        snapshot.kind,
        "" if snapshot.effort is None else f"{snapshot.effort:g}",
        f"{snapshot.recall:.3f}",
        f"{milliseconds[0]:.2f}" if milliseconds else "",
        f"{snapshot.bytes / 1e6:.1f}",
        f"{snapshot.build_seconds:.1f}",
    )
