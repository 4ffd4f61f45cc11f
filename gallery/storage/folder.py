"""A storage in a folder, whose files outlive a power cut from the moment on that `save` returns."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from django.core.files.base import File
from django.core.files.storage import FileSystemStorage

# File systems without an order of their own have nothing that could be asked for.
_NOT_KNOWN = {errno.EINVAL, errno.ENOTSUP, errno.ENOSYS}


class FolderStorage(FileSystemStorage):
    """Django's storage in a folder; what is saved is on the disk, and not in its cache alone.

    Else a row that was committed in time could have a file that is empty.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # Folders whose names are known to be on the disk. Others may have made them just now.
        self._named: set[Path] = set()

    def _save(self, name: str, content: File[bytes]) -> str:
        saved = str(super()._save(name, content))  # type: ignore[misc]  # the stubs leave it out
        path = Path(self.path(saved))
        sync(path)
        # The name of a file is in its folder, and that of a folder in the one above it.
        sync(path.parent)
        self._sync_names(path.parent)
        return saved

    def _sync_names(self, folder: Path) -> None:
        top = Path(self.location)
        while folder not in self._named and folder != top:
            sync(folder.parent)
            self._named.add(folder)
            folder = folder.parent
        if top not in self._named:
            with suppress(PermissionError):  # what is above it may be nobody's to read
                sync(top.parent)
            self._named.add(top)


def sync(path: Path) -> None:
    """Have the system write down what it holds of a file or folder."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NOT_KNOWN:
            raise
    finally:
        os.close(descriptor)
