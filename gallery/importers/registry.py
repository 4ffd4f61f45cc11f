"""Every kind of source by its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from gallery.importers import Source, SourceUnreadable
from gallery.importers.archive import Archive
from gallery.importers.coco import Coco
from gallery.importers.demo import Demo
from gallery.importers.folder import Folder
from gallery.importers.openimages import OpenImages
from gallery.importers.s3 import Bucket
from gallery.importers.tables import Table
from gallery.importers.urls import Urls
from gallery.importers.watch import Watch

KINDS: tuple[type[Source], ...] = (
    Demo,
    Folder,
    Watch,
    Archive,
    Table,
    Coco,
    OpenImages,
    Urls,
    Bucket,
)
SOURCES: dict[str, type[Source]] = {source.kind: source for source in KINDS}


def load(kind: str, options: Mapping[str, Any]) -> Source:
    """Return a source by its kind and options. Raise SourceUnreadable when they are wrong."""
    if kind not in SOURCES:
        raise SourceUnreadable(f"There is no source “{kind}”; there are {', '.join(SOURCES)}.")
    try:
        return SOURCES[kind](**options)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise SourceUnreadable(f"{name}: {first['msg']}.") from error
