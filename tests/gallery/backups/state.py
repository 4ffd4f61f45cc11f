"""All that a gallery holds, to compare before and after."""

from __future__ import annotations

import hashlib
from typing import Any

import psycopg
from django.core.files.storage import Storage, default_storage
from django.db import connection

from gallery.backups import tables
from gallery.storage.listings import stored_files


def rows() -> dict[str, list[Any]]:
    """Return every row of every table that is kept, as text."""
    with connection.cursor() as cursor:
        return _rows(cursor)


def rows_of(url: str) -> dict[str, list[Any]]:
    """Return the same of another database."""
    with psycopg.connect(url) as there, there.cursor() as cursor:
        return _rows(cursor)


def counts() -> dict[str, int]:
    return {table: len(found) for table, found in rows().items() if table.startswith("gallery_")}


def contents(storage: Storage = default_storage) -> dict[str, str]:
    """Return the sha256 of every file."""
    found = {}
    for file in stored_files(storage):
        with storage.open(file.name) as opened:
            found[file.name] = hashlib.sha256(opened.read()).hexdigest()
    return found


def _rows(cursor: Any) -> dict[str, list[Any]]:
    found = {}
    for table in tables.names():
        cursor.execute(f'SELECT t::text FROM "{table}" t ORDER BY 1')
        found[table] = [row for (row,) in cursor.fetchall()]
    return found
