"""Files that are being written: none is taken before it has been still for a while."""

from __future__ import annotations

import os
import stat
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from gallery.importers import Skipped
from gallery.trees import names, takeout
from gallery.trees.disk import Directory, DiskTree
from gallery.trees.listing import joined
from gallery.trees.sidecars import names_beside

_PATIENCE = 10  # times as long as a file must be still, an image waits for its sidecars
_Look = tuple[int, int]  # size and time of last change


@dataclass
class _Seen:
    look: _Look
    since: float  # when it was first seen like this


class Pending:
    """Files of a folder that have come or changed lately, by their paths in it."""

    def __init__(self, tree: DiskTree, still_seconds: float) -> None:
        self._tree, self._still_seconds = tree, still_seconds
        self._seen: dict[str, _Seen] = {}
        self._moved = ""  # a folder that was moved here, in the look that is under way

    def add_path(self, path: str) -> Iterator[Skipped]:
        """Note a file, or all files of a folder; yield what is not entered there."""
        inside = os.path.relpath(path, self._tree.root)
        if inside.startswith("..") or self._is_left_out(inside):
            return
        try:
            is_folder = stat.S_ISDIR(os.lstat(path).st_mode)
        except OSError:
            return  # gone again
        if not is_folder:
            self._add(inside)
            return
        # Moved here as a whole, its files are told by nobody.
        for directory in self._tree.directories("" if inside == "." else inside):
            if isinstance(directory, Skipped):
                yield directory
            elif inside != ".":
                for file in directory.files:
                    self._add(joined(directory.path, file.name))

    def add_directory(self, directory: Directory, since: float) -> set[str]:
        """Note the files that have changed since; return those that have been still for long.

        Of these, none is noted.
        """
        fresh: set[str] = set()
        now = time.time()
        if since and self._is_moved(directory.path, since):
            since = 1.0  # its files are as old as they were before
        for file in directory.files:
            path = joined(directory.path, file.name)
            try:
                status = os.stat(os.path.join(self._tree.root, path))  # noqa: PTH116, PTH118
            except OSError:
                continue
            changed = max(status.st_mtime, status.st_ctime)
            if changed < since:
                continue
            if since == 0 and changed < now - self._still_seconds and path not in self._seen:
                fresh.add(file.name)
            else:
                self._add(path)
        return fresh

    def _is_moved(self, path: str, since: float) -> bool:
        """Whether a folder, or one above it, has come here as a whole."""
        if self._moved and path.startswith(self._moved + "/"):
            return True
        try:
            status = os.stat(os.path.join(self._tree.root, path))  # noqa: PTH116, PTH118
        except OSError:
            return False
        self._moved = path if status.st_mtime < since <= status.st_ctime else ""
        return bool(self._moved)

    def ready(self) -> dict[str, set[str]]:
        """Return the names of still files by folder, and forget them.

        Images wait for the sidecars that come with them, but not for ever: a text that is always
        being written is none.
        """
        still, moving = self._by_folder()
        ready: dict[str, set[str]] = {}
        for folder, files in still.items():
            for name in files:
                if not self._is_patient(joined(folder, name)) or not _wait(name, moving[folder]):
                    ready.setdefault(folder, set()).add(name)
                    del self._seen[joined(folder, name)]
        return ready

    def _by_folder(self) -> tuple[dict[str, set[str]], dict[str, set[str]]]:
        """Look at all again; return the names of those that are still, and of those that are not.

        The latter in lower case.
        """
        now = time.monotonic()
        still: dict[str, set[str]] = {}
        moving: defaultdict[str, set[str]] = defaultdict(set)
        for path, seen in list(self._seen.items()):
            look = self._look(path)
            folder, _, name = path.rpartition("/")
            if look is None:
                del self._seen[path]
            elif look == seen.look and now - seen.since >= self._still_seconds:
                still.setdefault(folder, set()).add(name)
            else:
                moving[folder].add(name.lower())
                if look != seen.look:
                    self._seen[path] = _Seen(look, now)
        return still, moving

    def _is_patient(self, path: str) -> bool:
        """Whether a file that is still has not waited for others for too long."""
        still_for = time.monotonic() - self._seen[path].since
        return still_for < (1 + _PATIENCE) * self._still_seconds

    def _add(self, path: str) -> None:
        look = self._look(path)
        if look is not None and (path not in self._seen or self._seen[path].look != look):
            self._seen[path] = _Seen(look, time.monotonic())

    def _look(self, path: str) -> _Look | None:
        try:
            status = os.stat(os.path.join(self._tree.root, path))  # noqa: PTH116, PTH118
        except OSError:
            return None
        return status.st_size, status.st_mtime_ns

    def _is_left_out(self, inside: str) -> bool:
        parts = inside.split("/") if inside != "." else []
        if any(map(names.is_hidden, parts)):
            return True
        above = parts[:-1]
        folders = ("/".join(above[:end]) for end in range(1, len(above) + 1))
        # The system tells what happens in linked folders, too, and those are not entered.
        return any(
            self._tree.why_ignored(folder + "/")
            or os.path.islink(os.path.join(self._tree.root, folder))  # noqa: PTH114, PTH118
            for folder in folders
        )


def _wait(name: str, moving: set[str]) -> bool:
    """Whether a file that is being written may say something about this one."""
    if not names.is_taken(name) or not moving:
        return False
    beside = {sidecar.lower() for sidecar in names_beside(name)}
    return bool(beside & moving) or any(map(takeout.is_album_file, moving))
