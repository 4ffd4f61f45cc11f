"""All image files below a folder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from gallery.importers import Item, Skipped
from gallery.trees.disk import DiskTree
from gallery.trees.names import IMAGE_SUFFIXES as SUFFIXES

__all__ = ["SUFFIXES", "Folder"]


class Folder(DiskTree):
    """Image files below a folder, without hidden ones and links that lead out."""

    kind: ClassVar[str] = "folder"

    def items(self) -> Iterator[Item | Skipped]:
        for directory in self.directories():
            if isinstance(directory, Skipped):
                yield directory
            else:
                yield from self.items_of(directory)
