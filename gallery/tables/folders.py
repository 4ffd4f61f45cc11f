"""The folder that the images of a list lie in."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from gallery import texts
from gallery.importers import ItemUnreadable, SourceUnreadable, check_error
from gallery.trees.beneath import open_beneath
from gallery.trees.roots import Root

# A name that no file has, or can have.
_NOT_THERE = {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP}

log = logging.getLogger(__name__)


class ImageFolder:
    """Files below a folder by the paths that a list gives; none outside of it is ever opened."""

    def __init__(self, folder: str | Path) -> None:
        """Raise SourceUnreadable where there is no such folder, or nothing in it."""
        try:
            self._root = Root(str(folder), shown=texts.file_name(str(folder)))
            self._root.check_files()
        except SourceUnreadable:
            # Who has sent the list need not know where it lies.
            log.warning("The folder %s with images cannot be read", folder)
            raise
        self.root = Path(self._root.path)

    def find(self, path: str) -> tuple[str, str] | None:
        """Return a file's key and version, or None where there is no such file below the folder.

        The path is relative to the folder, or absolute and below it. Raise SourceUnreadable.
        """
        try:
            found = self._file(path)
            status = found.stat() if found else None
        except OSError as error:
            check_error(error)
            return None  # opening says what is wrong
        if found is None or status is None:
            return None
        return str(found.relative_to(self.root)), f"{status.st_size}:{status.st_mtime_ns}"

    def open(self, key: str) -> IO[bytes]:
        """Return the file. Raise ItemUnreadable, SourceUnreadable, OSError."""
        try:
            found = self._file(key)
            if found is not None:
                # By the folders of its path: a link that is put there now leads nowhere.
                return open_beneath(str(self.root), str(found))
        except OSError as error:
            self._root.check_files()
            if error.errno not in _NOT_THERE and not isinstance(error, PermissionError):
                raise
            raise ItemUnreadable(f"The file {key} cannot be read: {error.strerror}.") from error
        self._root.check_files()
        raise ItemUnreadable(f"There is no file {key} in the folder of images.")

    def check(self) -> None:
        """Raise SourceUnreadable where what was not found may be there when its disk is."""
        self._root.check_files()

    def files(self) -> Iterator[str]:
        """Yield the keys of all files, hidden ones left out."""
        for path in self.root.rglob("*"):
            key = path.relative_to(self.root)
            if not any(part.startswith(".") for part in key.parts) and path.is_file():
                yield str(key)

    def _file(self, path: str) -> Path | None:
        """Return the file, or None where there is none below the folder. Raise OSError."""
        try:
            # Links are followed first: what counts is where the bytes are.
            found = (self.root / path).resolve()
            return found if found.is_relative_to(self.root) and found.is_file() else None
        except (ValueError, RuntimeError):
            return None  # a name that no file can have, or a link that leads to itself
        except OSError as error:
            if error.errno in _NOT_THERE:
                return None
            raise
