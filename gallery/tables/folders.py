"""The folder that the images of a list lie in."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from gallery import texts
from gallery.importers import ItemUnreadable, SourceUnreadable
from gallery.trees.beneath import open_beneath

log = logging.getLogger(__name__)


class ImageFolder:
    """Files below a folder by the paths that a list gives; none outside of it is ever opened."""

    def __init__(self, folder: str | Path) -> None:
        """Raise SourceUnreadable where there is no such folder."""
        root = Path(folder)
        if not root.is_dir():
            log.warning("There is no folder %s with images", root)
            raise SourceUnreadable(f"There is no folder {texts.file_name(str(root))} with images.")
        self.root = root.resolve()

    def find(self, path: str) -> tuple[str, str] | None:
        """Return a file's key and version, or None where there is no such file below the folder.

        The path is relative to the folder, or absolute and below it.
        """
        found = self._file(path)
        if found is None:
            return None
        status = found.stat()
        return str(found.relative_to(self.root)), f"{status.st_size}:{status.st_mtime_ns}"

    def open(self, key: str) -> IO[bytes]:
        """Return the file. Raise ItemUnreadable where there is none below the folder."""
        found = self._file(key)
        if found is None:
            raise ItemUnreadable(f"There is no file {key} in the folder of images.")
        # By the folders of its path: a link that is put there now leads nowhere.
        return open_beneath(str(self.root), str(found))

    def files(self) -> Iterator[str]:
        """Yield the keys of all files, hidden ones left out."""
        for path in self.root.rglob("*"):
            key = path.relative_to(self.root)
            if not any(part.startswith(".") for part in key.parts) and path.is_file():
                yield str(key)

    def _file(self, path: str) -> Path | None:
        try:
            # Links are followed first: what counts is where the bytes are.
            found = (self.root / path).resolve()
            return found if found.is_relative_to(self.root) and found.is_file() else None
        except (OSError, ValueError, RuntimeError):
            return None  # a name that no file can have, or a link that leads to itself
