"""The folder that a source reads: whether it is the one that it was, and whether its disk is there.

Where a disk is not mounted, its files look deleted one by one. So whoever misses a file asks here
first.
"""

from __future__ import annotations

import os
import stat

from gallery.importers import SourceUnreadable, check_error
from gallery.trees import names


class Root:
    """A folder on disk that is to stay the one that it was at first."""

    def __init__(self, path: str, *, shown: str = "") -> None:
        """`shown` is what people read of the path. Raise SourceUnreadable where there is none."""
        self.path = os.path.realpath(path)
        self._shown = shown or self.path
        self._identity = self._look()

    def check(self) -> None:
        """Raise SourceUnreadable where the folder is not the one that it was."""
        if self._look() != self._identity:
            raise SourceUnreadable(
                f"The folder {self._shown} has been replaced, or its disk was taken away: "
                "go on when it is back."
            )

    def check_files(self) -> None:
        """Raise SourceUnreadable where a file is missing because all of them are."""
        self.check()
        if self.is_bare():
            raise SourceUnreadable(
                f"The folder {self._shown} is empty. Is its disk there? Go on when it is."
            )

    def is_bare(self) -> bool:
        """Whether nothing of people's is in it. Raise SourceUnreadable."""
        try:
            return is_bare(self.path)
        except PermissionError:
            return False  # it may be entered, and not be listed
        except OSError as error:
            raise self._unreadable(error) from error

    def _look(self) -> tuple[int, int]:
        """Return which folder it is: device and inode."""
        try:
            status = os.stat(self.path)  # noqa: PTH116
        except OSError as error:
            raise self._unreadable(error) from error
        if not stat.S_ISDIR(status.st_mode):
            raise SourceUnreadable(f"There is no folder {self._shown}: it is a file.")
        return status.st_dev, status.st_ino

    def _unreadable(self, error: OSError) -> SourceUnreadable:
        check_error(error)
        return SourceUnreadable(f"There is no folder {self._shown}: {error.strerror}.")


def is_bare(path: str) -> bool:
    """Whether a folder holds nothing of people's, as where a disk is not mounted. Raise OSError."""
    with os.scandir(path) as entries:
        return all(names.is_hidden(entry.name) for entry in entries)
