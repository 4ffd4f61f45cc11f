"""Backups of an older version: their rows are restored into its tables, then brought up to date."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.core.management import call_command
from django.utils import timezone

from embeddings import feed
from embeddings.models import Space
from gallery.backups import tables
from gallery.backups.archive import BLOCK, Writer
from gallery.backups.manifest import Sequence, Table
from gallery.models import Caption, Image, ImageEmbedding, Upload
from gallery.pipeline import embed_waiting
from tests.gallery.backups import archives
from tests.gallery.backups.machines import run
from tests.gallery.backups.state import contents, rows, rows_of
from tests.gallery.uploads import stored

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

OLDER = "0010_references"  # before videos, and columns of uploads and imports


class Older:
    """The gallery's tables as an older version had them, with the rows of now."""

    def __init__(self) -> None:
        self.content: dict[str, bytes] = {}
        self.tables: list[Table] = []
        self.sequences: list[Sequence] = []

    def read(self) -> None:
        with tables.one_snapshot():
            for name in tables.names():
                out = io.BytesIO()
                self.tables.append(table := tables.write(Writer(out), name))
                if table.rows:
                    (part,) = table.parts
                    self.content[part.name] = out.getvalue()[BLOCK:][: part.bytes]
            self.sequences = tables.sequences(tables.names())

    def change(self, name: str, content: bytes) -> tuple[str, bytes] | None:
        if not name.startswith("database/"):
            return name, content
        return (name, self.content[name]) if name in self.content else None

    def edit(self, known: dict[str, Any]) -> None:
        known["migrations"]["gallery"] = OLDER
        known["tables"] = [table.model_dump() for table in self.tables]
        known["sequences"] = [sequence.model_dump() for sequence in self.sequences]


@pytest.fixture
def older(file: Path, tmp_path: Path) -> Path:
    """A backup as that version made it of the small gallery."""
    found = Older()
    try:
        # The command, and not only its migrations: it puts triggers on tables that are made anew.
        call_command("migrate", "gallery", OLDER, verbosity=0)
        found.read()
    finally:
        call_command("migrate", "gallery", verbosity=0)
    names = {table.name for table in found.tables}
    assert "gallery_place" in names
    assert "gallery_video" not in names
    return archives.forge(file, tmp_path / "older.tar", found.change, found.edit)


@pytest.fixture
def images(images: list[Image]) -> list[Image]:
    """With a row in a table that has grown columns since."""
    owner = images[0].owner
    Upload.objects.create(
        owner=owner, bytes=9, received=9, state="new", image=images[0], expires_at=timezone.now()
    )
    return images


def test_it_is_restored_into_a_database_without_tables(older, other):
    out = run("restore", older, **other)
    assert "0 answers differ" in out
    there = rows_of(other["DATABASE_URL"])
    for table, kept in rows().items():
        assert there[table] == kept, table


def test_it_is_restored_into_an_empty_gallery_that_lives_on(older, images, empty):
    before, files = rows(), contents()
    empty()
    call_command("restore", str(older))
    after = rows()
    for table, kept in before.items():
        assert after[table] == kept, table
    assert contents() == files
    assert not default_storage.exists("restore.json")
    # Triggers are there, also on tables that were made anew.
    new = stored(99, caption="a new one")
    assert Caption.objects.get(image=new).text == "a new one"
    position = feed.position(ImageEmbedding)
    embed_waiting()
    assert feed.changes(ImageEmbedding, Space.objects.get(), position).ids.tolist() == [new.pk]
    call_command("verify", "--hash")
