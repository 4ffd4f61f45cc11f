"""manage.py build_index: read all vectors from Postgres and publish a new snapshot."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from embeddings import feed, snapshots
from embeddings.errors import EmbeddingsError
from embeddings.models import Space


class Command(BaseCommand):
    help = "Build the index of every vector table anew from Postgres."

    def handle(self, *args: Any, **options: Any) -> None:
        for model in feed.vector_tables():
            for space in Space.objects.exclude(state=Space.State.RETIRED):
                try:
                    snapshot = snapshots.build(model, space)
                except (EmbeddingsError, OSError) as error:
                    raise CommandError(str(error)) from error
                if snapshot is None:
                    raise CommandError(f"{model.__name__} in {space} is being built right now.")
                self.stdout.write(
                    f"{model.__name__} in {space}: {snapshot.vectors:,} vectors, {snapshot.kind}, "
                    f"{snapshot.bytes / 1e6:.1f} MB, recall@10 {snapshot.recall:.3f}, "
                    f"{snapshot.build_seconds:.1f} s"
                )
