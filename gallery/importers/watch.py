"""A folder that is watched: what lies there, and then whatever is put there."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import IO, ClassVar

from pydantic import Field, PrivateAttr

from gallery.importers import Item, Skipped, SourceAway, SourceUnreadable
from gallery.trees.changes import changed_paths
from gallery.trees.disk import Directory, DiskTree
from gallery.trees.roots import Root
from gallery.trees.stillness import Pending

_AWAY_SECONDS = 1.0  # how often a folder that is away is looked for
_VERSION = "\\@"  # in a key, behind the path: no name's key has it


class Watch(DiskTree):
    """Image files below a folder, now and until it is stopped; each when it is still."""

    kind: ClassVar[str] = "watch"
    is_endless: ClassVar[bool] = True

    still_seconds: float = Field(
        default=2.0, ge=0.1, le=3600, description="take a file that has not changed for so long"
    )
    look_seconds: float = Field(
        default=300.0,
        ge=1,
        le=86_400,
        description="look through the whole folder so often, for what the system has not told",
    )

    _is_stopped: threading.Event = PrivateAttr(default_factory=threading.Event)

    def items(self) -> Iterator[Item | Skipped]:
        Root(self.root)  # that it is not there at the beginning is a mistake, later an accident
        while not self._is_stopped.is_set():
            try:
                for item in self._watched():
                    yield _versioned(item)
            except SourceUnreadable as error:
                reason = f"{str(error).rstrip('.')}. Watching goes on when it is there again."
                yield Skipped(key=f"{_VERSION}{time.time_ns()}", reason=reason)
                self._wait_for_folder()

    def open(self, key: str) -> IO[bytes]:
        try:
            return super().open(key.rpartition(_VERSION)[0])
        except SourceUnreadable as error:
            raise SourceAway(f"{error} Watching goes on when it is there again.") from error

    def first_root(self) -> Root:
        return Root(self.root)  # it may have gone, and come back as another one

    def stop(self) -> None:
        self._is_stopped.set()

    def _wait_for_folder(self) -> None:
        while not self._is_stopped.wait(_AWAY_SECONDS):
            try:
                Root(self.root)
            except SourceUnreadable:
                continue
            return

    def _watched(self) -> Iterator[Item | Skipped]:
        """Yield what is there and what comes. Raise SourceUnreadable when the folder goes away."""
        root = Root(self.root)
        pending = Pending(self, self.still_seconds)
        look = _Looks(self.look_seconds)
        with closing(changed_paths(self.root, self._is_stopped)) as changes:
            for paths in changes:
                root.check()
                if paths is None or look.is_due:
                    yield from self._look(pending, look.begin())
                for path in paths or ():
                    yield from pending.add_path(path)
                yield from self._ready(pending)

    def _look(self, pending: Pending, since: float) -> Iterator[Item | Skipped]:
        """Note what has changed since; at first, with `since` 0, take what is still at once."""
        for directory in self.directories():
            if isinstance(directory, Skipped):
                yield directory
            elif fresh := pending.add_directory(directory, since):
                yield from self.items_of(directory, only=fresh)
            if self._is_stopped.is_set():
                return

    def _ready(self, pending: Pending) -> Iterator[Item | Skipped]:
        for folder, files in pending.ready().items():
            try:
                directory = Directory(self.root, folder)
            except OSError:
                continue  # moved away since: it is told under its new name, where that is ours
            yield from self.items_of(directory, only=files)


class _Looks:
    """When to look through the whole folder, and for changes since when."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since, self._at = 0.0, float("-inf")

    @property
    def is_due(self) -> bool:
        return time.monotonic() - self._at >= self._seconds

    def begin(self) -> float:
        """Return since when to look for changes, in time of the file system; 0: for all."""
        since, now = self._since, time.time()
        elapsed = time.monotonic() - self._at
        if abs(now - since - elapsed) > _AWAY_SECONDS:
            since = 0.0  # the first look, or somebody has set the clock
        self._since, self._at = now, time.monotonic()
        return max(0.0, since - 2 * _AWAY_SECONDS)


def _versioned(item: Item | Skipped) -> Item | Skipped:
    """A file that is written anew is another item of the same run."""
    if isinstance(item, Skipped):
        return item
    return replace(item, key=f"{item.key}{_VERSION}{item.version}")
