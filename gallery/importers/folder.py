"""All image files below a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import IO, ClassVar

from django.conf import settings
from pydantic import Field, ValidationInfo, field_validator

from gallery.importers import Item, ItemUnreadable, Skipped
from gallery.storage import places
from gallery.storage.originals import FileTooLarge, Original
from gallery.trees.disk import DiskTree
from gallery.trees.names import IMAGE_SUFFIXES as SUFFIXES

__all__ = ["SUFFIXES", "Folder"]


class Folder(DiskTree):
    """Image files below a folder, without hidden ones and links that lead out."""

    kind: ClassVar[str] = "folder"

    in_place: bool = Field(
        default=False, description="leave the originals there, and store thumbnails alone"
    )

    @field_validator("in_place")
    @classmethod
    def is_allowed(cls, value: bool, info: ValidationInfo) -> bool:  # noqa: FBT001 - by pydantic
        if value and not places.is_allowed(os.path.realpath(info.data.get("path", "/"))):
            raise ValueError("name the folder, or one above it, in the setting REFERENCED_FOLDERS")
        return value

    def items(self) -> Iterator[Item | Skipped]:
        for directory in self.directories():
            if isinstance(directory, Skipped):
                yield directory
            else:
                yield from self.items_of(directory)

    def original(self, key: str, version: str) -> Original | None:
        return Original(address=self.path, key=key, version=version) if self.in_place else None

    def open_original(self, original: Original) -> IO[bytes]:
        try:
            with self.root_checked():
                return places.place_of(original).open(
                    original.key, original.version, most=settings.MAX_IMAGE_BYTES
                )
        except FileTooLarge as error:
            most = settings.MAX_IMAGE_BYTES // 10**6
            raise ItemUnreadable(f"The file is larger than {most} MB.") from error
        except (FileNotFoundError, PermissionError, NotADirectoryError) as error:
            raise ItemUnreadable(f"The file cannot stay in its place: {error.strerror}.") from error
