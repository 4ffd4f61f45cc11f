"""Folders on disk: every file below one, listed without being opened."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import IO

from pydantic import Field, field_validator

from gallery.importers import ItemUnreadable, Skipped, check_error
from gallery.trees import names, takeout
from gallery.trees.beneath import leads_out, open_beneath
from gallery.trees.listing import File, Tree, joined
from gallery.trees.roots import Root, is_bare
from gallery.trees.sidecars import MAX_BYTES


class DiskTree(Tree):
    """A folder on disk with all that is below it."""

    path: str = Field(description="the folder")

    @field_validator("path")
    @classmethod
    def is_absolute(cls, path: str) -> str:
        # A run may be gone on with by a process that stands elsewhere.
        if not path or "\0" in path:
            raise ValueError("it is no path")
        return os.path.abspath(path)  # noqa: PTH100 - `Path.absolute` keeps ".."

    @property
    def title(self) -> str:
        return self.path

    def is_bare(self) -> bool:
        try:
            return is_bare(self.root)
        except OSError:
            return False  # listing says what is wrong

    def open(self, key: str) -> IO[bytes]:
        try:
            with self.root_checked():
                return open_beneath(self.root, names.path_of(key))
        except FileNotFoundError as error:
            raise ItemUnreadable("The file is not there any more.") from error
        except (PermissionError, NotADirectoryError) as error:
            raise ItemUnreadable(f"The file cannot be read: {error.strerror}.") from error
        except ValueError as error:
            raise ItemUnreadable("There is no file of such a name.") from error

    @contextmanager
    def root_checked(self) -> Iterator[None]:
        """Raise SourceUnreadable where a file cannot be opened because the folder is away."""
        root = self.first_root()
        try:
            yield
        except OSError:
            root.check_files()
            raise

    def first_root(self) -> Root:
        """Return the folder that the files have to be in. Raise SourceUnreadable."""
        return self._first_root

    def directories(self, begin: str = "") -> Iterator[Directory | Skipped]:
        """Yield the folders from `begin` downwards, and what is not entered.

        Linked folders are not entered: one that leads to its own parent would never end. Raise
        SourceUnreadable.
        """
        root = Root(self.root)
        waiting = [begin]
        while waiting:
            path = waiting.pop()
            try:
                directory = Directory(self.root, path)
            except OSError as error:
                root.check()
                if not self.is_endless:  # that one looks again
                    check_error(error)
                reason = f"The folder cannot be read: {error.strerror}."
                yield Skipped(key=names.key_of(path + "/"), reason=reason)
                continue
            yield directory
            for link in directory.links:
                key = names.key_of(joined(path, link))
                yield Skipped(key=key, reason="A link to a folder is not followed.")
            inner: list[str] = []
            for name in directory.folders:
                child = joined(path, name)
                if reason := self.why_ignored(child + "/"):
                    yield Skipped(key=names.key_of(child + "/"), reason=reason)
                else:
                    inner.append(child)
            waiting.extend(reversed(inner))
        # A folder whose disk went away meanwhile looks empty, not broken.
        root.check()

    @cached_property
    def root(self) -> str:
        return os.path.realpath(self.path)

    @cached_property
    def _first_root(self) -> Root:
        return Root(self.root)


class Directory:
    """One folder on disk, its names read at once; its files are looked at one by one."""

    def __init__(self, root: str, path: str) -> None:
        """Raise OSError."""
        self._root, self.path = root, path
        self._directory = str(Path(root, path))
        self._linked_files: set[str] = set()
        self.links: list[str] = []  # to folders
        files: list[str] = []
        folders: list[str] = []
        with os.scandir(self._directory) as entries:
            for entry in entries:
                if names.is_hidden(entry.name):
                    continue
                if entry.is_symlink():
                    self._sort_link(entry, files)
                elif entry.is_dir(follow_symlinks=False):
                    folders.append(entry.name)
                else:
                    files.append(entry.name)
        self.links.sort()
        self.files = [File(name, names.key_of(joined(path, name))) for name in sorted(files)]
        self.folders = _albums_first(self._directory, sorted(folders))

    def size(self, file: File) -> int:
        try:
            return os.stat(f"{self._directory}/{file.name}").st_size  # noqa: PTH116
        except OSError:
            return 0

    def version(self, file: File) -> str:
        path = f"{self._directory}/{file.name}"
        try:
            if file.name in self._linked_files and leads_out(self._root, path):
                raise ItemUnreadable("A link that leads out of the folder is not followed.")
            status = os.stat(path)  # noqa: PTH116 - a Path for each of a million files takes time
        except FileNotFoundError as error:
            raise ItemUnreadable("The file is gone, or a link that leads nowhere.") from error
        except OSError as error:
            check_error(error)
            raise ItemUnreadable(f"The file cannot be looked at: {error.strerror}.") from error
        if not stat.S_ISREG(status.st_mode):
            raise ItemUnreadable("It is not a plain file.")
        return f"{status.st_size}:{status.st_mtime_ns}"

    def read(self, name: str) -> bytes:
        try:
            with open_beneath(self._root, joined(self.path, name)) as file:
                return file.read(MAX_BYTES + 1)
        except OSError as error:
            check_error(error)
            raise

    def _sort_link(self, entry: os.DirEntry[str], files: list[str]) -> None:
        try:
            is_folder = entry.is_dir()
        except OSError:
            is_folder = False  # a link that leads to itself
        if is_folder:
            self.links.append(entry.name)
        else:
            self._linked_files.add(entry.name)
            files.append(entry.name)


def _albums_first(directory: str, folders: list[str]) -> list[str]:
    """Let Google's "Photos from 2019" come after its albums, which have the same images.

    What comes first is taken in, with its album; the other is already there.
    """
    if not any(map(takeout.is_year_folder, folders)):
        return folders
    return sorted(
        folders,
        key=lambda name: takeout.is_year_folder(name) and not _is_album(f"{directory}/{name}"),
    )


def _is_album(directory: str) -> bool:
    try:
        return any(map(takeout.is_album_file, os.listdir(directory)))  # noqa: PTH208
    except OSError:
        return False
