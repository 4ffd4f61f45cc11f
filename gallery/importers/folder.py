"""All image files below a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO

from gallery.importers import Item

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".mpo", ".png", ".webp", ".gif", ".avif", ".tif", ".tiff", ".bmp"}
    | {".heic", ".heif", ".hif"}
)


class Folder:
    """Image files in the order of their paths, without hidden ones and links that lead out."""

    def __init__(self, path: Path) -> None:
        if not path.is_dir():
            raise NotADirectoryError(f"There is no folder {path}.")
        self._root = path.resolve()
        self._paths = sorted(self._find())

    def __len__(self) -> int:
        return len(self._paths)

    def __iter__(self) -> Iterator[Item]:
        for path in self._paths:
            yield Item(name=path.name, open=partial(_open, path))

    def _find(self) -> Iterator[Path]:
        # Linked folders are not entered: one that leads to its own parent would never end.
        for folder, folders, names in os.walk(self._root, followlinks=False):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in names:
                path = Path(folder, name)
                if (
                    not name.startswith(".")
                    and path.suffix.lower() in SUFFIXES
                    and path.resolve().is_relative_to(self._root)
                    and path.is_file()
                ):
                    yield path


def _open(path: Path) -> IO[bytes]:
    return path.open("rb")
