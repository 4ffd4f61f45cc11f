"""Opens files below a folder, and none outside of it, whoever changes the folder meanwhile."""

from __future__ import annotations

import os
import stat
from typing import IO, cast

from gallery.importers import ItemUnreadable

_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW


def leads_out(root: str, path: str) -> bool:
    """Whether a path ends outside of the folder `root`, which must be a real path itself."""
    real = os.path.realpath(path)
    return real != root and not real.startswith(root.rstrip("/") + "/")


def open_beneath(root: str, path: str) -> IO[bytes]:
    """Return a file by its path below the folder, unbuffered names aside: a plain file.

    Links are followed as long as they stay inside. Raise ItemUnreadable where they do not, where a
    link was put in a folder's place just now, or for what is no plain file; OSError.
    """
    root = os.path.realpath(root)
    real = os.path.realpath(os.path.join(root, path))  # noqa: PTH118 - names that are no text
    if leads_out(root, real):
        raise ItemUnreadable("The file lies outside of the folder.")
    *folders, name = os.path.relpath(real, root).split("/")
    # Of a real path no part is a link. One that is now was put there since: it is not followed.
    at = os.open(root, _READ | os.O_DIRECTORY)
    try:
        for folder in folders:
            inner = os.open(folder, _READ | os.O_DIRECTORY, dir_fd=at)
            os.close(at)
            at = inner
        # Without O_NONBLOCK a pipe in a file's place would be waited for, for ever.
        descriptor = os.open(name, _READ | os.O_NONBLOCK, dir_fd=at)
    finally:
        os.close(at)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ItemUnreadable("It is not a plain file.")
    return cast("IO[bytes]", os.fdopen(descriptor, "rb"))
