"""Imports that the page and the API start: of a file that was sent, or of URLs."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import IO

from django.contrib.auth.base_user import AbstractBaseUser
from django.db import transaction

from gallery.descriptions import Description
from gallery.importers import Source, SourceUnreadable, registry
from gallery.imports import ledger, sent
from gallery.imports.errors import ImportInvalid
from gallery.models import ImportRun
from gallery.tables.addresses import is_url

MAX_URLS = 100_000
MAX_URL = 2000

_ARCHIVES = (".zip", ".tar", ".tgz", ".tbz2", ".txz", ".tar.gz", ".tar.bz2", ".tar.xz")
# What kind of source a file is, by the end of its name; what is in it decides for itself.
KIND_BY_SUFFIX = {
    **dict.fromkeys(_ARCHIVES, "archive"),
    **dict.fromkeys((".csv", ".tsv", ".jsonl", ".ndjson", ".parquet"), "table"),
    ".txt": "urls",
}


def from_file(
    file: IO[bytes],
    name: str,
    owner: AbstractBaseUser,
    *,
    defaults: Description,
    is_dry_run: bool = False,
) -> ImportRun:
    """Keep an archive or a list and start its import; the worker takes it up.

    Raise ImportInvalid with a sentence for what is neither, StorageUnavailable.
    """
    lower = name.lower()
    kind = next((kind for end, kind in KIND_BY_SUFFIX.items() if lower.endswith(end)), "")
    if kind not in registry.SOURCES:
        raise ImportInvalid(
            "The file must be an archive (.zip, .tar, .tar.gz), a table (.csv, .tsv, .jsonl, "
            ".parquet) or a list of URLs (.txt)."
        )
    kept = sent.keep(file, name, owner)
    try:
        return _start(kept, kind, owner, defaults=defaults, is_dry_run=is_dry_run)
    except SourceUnreadable as error:
        sent.remove(kept.folder)
        raise ImportInvalid(str(error)) from error


def from_urls(
    urls: Sequence[str],
    owner: AbstractBaseUser,
    *,
    defaults: Description,
    is_dry_run: bool = False,
) -> ImportRun:
    """Start an import of some URLs. Raise ImportInvalid when one cannot be an address."""
    cleaned = list(dict.fromkeys(url.strip() for url in urls if url.strip()))
    if not cleaned:
        raise ImportInvalid("Name at least one URL.")
    if len(cleaned) > MAX_URLS:
        raise ImportInvalid(f"At most {MAX_URLS:,} URLs at once; send more of them as a file.")
    for url in cleaned:
        if len(url) > MAX_URL or not is_url(url):
            raise ImportInvalid(f"“{url[:80]}” is no http or https address.")
        if not url.isprintable() or " " in url:
            raise ImportInvalid(f"“{url[:80]}” holds spaces or control characters.")
    file = BytesIO("\n".join(cleaned).encode())
    run = from_file(file, "urls.txt", owner, defaults=defaults, is_dry_run=is_dry_run)
    run.title = cleaned[0][:300] if len(cleaned) == 1 else f"{len(cleaned):,} URLs"
    run.save(update_fields=["title"])
    return run


@transaction.atomic
def _start(
    kept: sent.Sent,
    kind: str,
    owner: AbstractBaseUser,
    *,
    defaults: Description,
    is_dry_run: bool,
) -> ImportRun:
    source = registry.load(kind, {_file_field(registry.SOURCES[kind]): str(kept.path)})
    run = ledger.start(source, owner, defaults=defaults, is_dry_run=is_dry_run, is_unattended=True)
    run.upload = kept.folder
    run.title = kept.path.name[:300]
    # The same file sent again is known again, wherever we keep it.
    run.place = run.place.replace(str(kept.path), kept.sha256)
    run.save(update_fields=["upload", "title", "place"])
    return run


def _file_field(source: type[Source]) -> str:
    """Return the field that says where the file is: the one that a source cannot do without."""
    return next(name for name, field in source.model_fields.items() if field.is_required())
