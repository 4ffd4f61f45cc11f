"""Files that are being written: none is taken before it has been still for a while."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass

from gallery.importers import Skipped
from gallery.trees import names
from gallery.trees.disk import Directory, DiskTree
from gallery.trees.listing import joined

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

        Images wait for the sidecars that come with them.
        """
        now = time.monotonic()
        still: dict[str, set[str]] = {}
        unsettled: set[str] = set()
        for path, seen in list(self._seen.items()):
            look = self._look(path)
            folder, _, name = path.rpartition("/")
            if look is None:
                del self._seen[path]
            elif look != seen.look:
                self._seen[path] = _Seen(look, now)
                unsettled.add(folder)
            elif now - seen.since >= self._still_seconds:
                still.setdefault(folder, set()).add(name)
            elif names.suffix_of(name) in (".json", ".txt"):
                unsettled.add(folder)
        ready = {folder: files for folder, files in still.items() if folder not in unsettled}
        for folder, files in ready.items():
            for name in files:
                del self._seen[joined(folder, name)]
        return ready

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
