"""All files of a storage, and all names in the database, in one order and in constant memory."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from django.apps import apps
from django.core.files.storage import FileSystemStorage, Storage
from django.db import connection, models

from gallery.storage.bucket import BucketStorage
from gallery.storage.clients import BucketUnavailable, told_as_os_errors
from gallery.storage.flows import in_order

FOLDERS = frozenset({"images", "thumbnails", "videos"})  # what `ingest` makes; all else is not ours
KEYS_A_PAGE = 1000  # the most that S3 gives
_PAGE = 2000
_UUID = r"([0-9a-f]{2})[0-9a-f]{6}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_OURS = re.compile(
    rf"images/(?P<folder>[0-9a-f]{{2}})/{_UUID}\.[a-z]{{3,4}}"
    rf"|videos/(?P<videos>[0-9a-f]{{2}})/{_UUID}\.[a-z0-9]{{2,4}}"
    rf"|thumbnails/(?P<thumbnails>[0-9a-f]{{2}})/{_UUID}-(?:256|1024)\.webp"
)


class StoredFile(NamedTuple):
    """A file as the storage lists it."""

    name: str
    bytes: int
    modified_at: datetime


class NamedFile(NamedTuple):
    """A file as a row names it; size and hash where the row knows them."""

    name: str
    field: str  # "image.thumbnail_small"
    id: int
    bytes: int | None
    sha256: str | None


def stored_files(storage: Storage) -> Iterator[StoredFile]:
    """List the files in the folders that are the gallery's, in the order of `in_order`."""
    for folder in sorted(FOLDERS | named_folders(), key=lambda folder: in_order(f"{folder}/")):
        if isinstance(storage, BucketStorage):
            yield from _in_bucket(storage, f"{folder}/")
        elif isinstance(storage, FileSystemStorage):
            yield from _in_folder(Path(storage.path(folder)), f"{folder}/")
        else:
            raise TypeError(f"Nobody knows how to list a {type(storage).__name__}.")


def looked_up(storage: Storage, name: str) -> StoredFile | None:
    """Return a file of a folder that may have come too late for the list, or lies behind a link.

    A bucket lists all that it has.
    """
    if not isinstance(storage, FileSystemStorage):
        return None
    try:
        status = os.stat(storage.path(name))  # noqa: PTH116
    except (FileNotFoundError, NotADirectoryError):
        return None
    return StoredFile(name, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))


def _in_folder(folder: Path, prefix: str) -> Iterator[StoredFile]:
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return
    # A folder is sorted as its files are named: with the slash. A link to one leads to what is
    # not ours, or in a circle.
    entry_by_name = {
        f"{one.name}/" if one.is_dir(follow_symlinks=False) else one.name: one
        for one in entries
        if one.name.isprintable()  # nothing of ours has another name
    }
    for name in sorted(entry_by_name, key=os.fsencode):
        entry = entry_by_name[name]
        if name.endswith("/"):
            yield from _in_folder(folder / entry.name, prefix + name)
        else:
            try:
                status = entry.stat()
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ELOOP):
                    raise
                continue  # deleted since, or a link that leads nowhere
            modified_at = datetime.fromtimestamp(status.st_mtime, UTC)
            yield StoredFile(prefix + name, status.st_size, modified_at)


def _in_bucket(storage: BucketStorage, prefix: str) -> Iterator[StoredFile]:
    start = f"{storage.location}/" if storage.location else ""
    for entry in objects(storage.client, storage.bucket_name, start + prefix):
        name = entry["Key"].removeprefix(start)
        yield StoredFile(name, entry["Size"], entry["LastModified"])


def objects(client: Any, bucket: str, prefix: str) -> Iterator[dict[str, Any]]:
    """List the objects of a bucket whose keys begin so, in the order of `in_order`.

    Raise BucketUnavailable, also where the bucket gives them in no order.
    """
    pages = client.get_paginator("list_objects_v2").paginate(
        Bucket=bucket, Prefix=prefix, PaginationConfig={"PageSize": KEYS_A_PAGE}
    )
    last = b""
    with told_as_os_errors("list its files"):
        for page in pages:
            for entry in page.get("Contents", ()):
                if in_order(entry["Key"]) < last:
                    raise BucketUnavailable("the bucket lists its files in no order")
                last = in_order(entry["Key"])
                yield entry


def is_ours(name: str) -> bool:
    """Say whether it is a name as `ingest` makes them. Other files are somebody else's."""
    found = _OURS.fullmatch(name)
    pairs = zip(found.groups()[::2], found.groups()[1::2], strict=True) if found else ()
    return found is not None and all(folder == start for folder, start in pairs)


def named_files() -> Iterator[NamedFile]:
    """List the names in all file fields of the gallery, in the order of `in_order`."""
    # A restore compares the names before it brings the tables up to date.
    selects = " UNION ALL ".join(_select(field) for field in _file_fields() if _is_made(field))
    # Each name once, should two rows have the same.
    sql = f'SELECT DISTINCT ON (name COLLATE "C") * FROM ({selects}) f ORDER BY name COLLATE "C"'
    # A cursor "with hold" outside of a transaction: hours of work hold up no vacuum.
    with connection.chunked_cursor() as cursor:
        cursor.execute(sql)
        while rows := cursor.fetchmany(_PAGE):
            for row in rows:
                yield NamedFile(*row)


def count_named_files() -> int:
    counts = " + ".join(
        f"(SELECT count(*) FROM {_table(field)} WHERE {_column(field)} <> '')"
        for field in _file_fields()
    )
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {counts}")
        return int(cursor.fetchone()[0])


def named_folders() -> set[str]:
    """Return the topmost folders that rows name files in."""
    selects = " UNION ".join(
        f"SELECT split_part({_column(field)}, '/', 1) FROM {_table(field)}"
        f" WHERE {_column(field)} LIKE '%/%'"
        for field in _file_fields()
        if _is_made(field)  # a restore looks at the files before it makes the tables
    )
    if not selects:
        return set()
    with connection.cursor() as cursor:
        cursor.execute(selects)
        return {folder for (folder,) in cursor.fetchall() if folder}


def is_named(field_and_id: NamedFile) -> bool:
    """Say whether the row is still there, and still names the file."""
    for field in _file_fields():
        if _label(field) == field_and_id.field:
            rows = field.model._default_manager.filter(pk=field_and_id.id)
            return rows.filter(**{field.name: field_and_id.name}).exists()
    return False


def named_among(names: list[str]) -> set[str]:
    """Return those of the names that a row names now."""
    found: set[str] = set()
    for field in _file_fields():
        rows = field.model._default_manager.filter(**{f"{field.name}__in": names})
        found.update(rows.values_list(field.name, flat=True))
    return found


def _file_fields() -> list[models.FileField]:
    return [
        field
        for model in apps.get_app_config("gallery").get_models()
        for field in model._meta.concrete_fields
        if isinstance(field, models.FileField)
    ]


def _is_made(field: models.FileField) -> bool:
    """Whether the migrations have come so far."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass(%s)"
            " AND attname = %s AND NOT attisdropped)",
            [_table(field), str(field.column)],
        )
        return bool(cursor.fetchone()[0])


def _select(field: models.FileField) -> str:
    # Size and hash are those of the field called "file".
    columns = (
        {one.name for one in field.model._meta.concrete_fields} if field.name == "file" else ()
    )
    size = "bytes::bigint" if "bytes" in columns else "NULL::bigint"
    sha256 = "sha256::text" if "sha256" in columns else "NULL::text"
    return (
        f"SELECT {_column(field)}::text AS name, '{_label(field)}' AS field, id, {size}, {sha256}"
        f" FROM {_table(field)} WHERE {_column(field)} <> ''"
    )


def _label(field: models.FileField) -> str:
    return f"{field.model._meta.model_name}.{field.name}"


def _table(field: models.FileField) -> str:
    return connection.ops.quote_name(field.model._meta.db_table)


def _column(field: models.FileField) -> str:
    return connection.ops.quote_name(str(field.column))
