"""Folders that are there whole or not at all, and whose files are proved before they are used.

What is dear to make is made once a machine: the first process that wants it makes it beside its
place, others that ask wait, and who is killed leaves nothing that is taken for it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

log = logging.getLogger(__name__)

Opened = TypeVar("Opened")

UNUSED_SECONDS = 30 * 24 * 3600  # what nobody has opened for so long goes; it can be made anew
_HASHES_FILE = "sha256.json"
_PART = ".part"  # what is being made, or was when its maker was killed


class FolderBroken(Exception):
    """A file of a kept folder is missing, or is not what was written."""


@dataclass(frozen=True)
class Kept:
    """A folder of files that was written whole."""

    folder: Path
    hashes: dict[str, str]  # sha256 of each file, by its name

    @classmethod
    def read(cls, folder: Path) -> Kept:
        """Raise FolderBroken where there is none."""
        try:
            hashes = json.loads((folder / _HASHES_FILE).read_text())
        except (OSError, ValueError) as error:
            raise FolderBroken(f"{folder} was not written whole.") from error
        if not isinstance(hashes, dict):
            raise FolderBroken(f"{folder / _HASHES_FILE} is damaged.")
        return cls(folder, hashes)

    def file(self, name: str) -> Path:
        """Return a file that was proved just now, as its weights were. Raise FolderBroken."""
        return self.opened(name, lambda path: path)

    def opened(self, name: str, open_: Callable[[Path], Opened]) -> Opened:
        """Return what `open_` makes of a file that is proved.

        Its weights are proved meanwhile, which takes about as long as to open them: numbers alone,
        they can be wrong, and do no harm before they are used. Raise FolderBroken.
        """
        self._prove(name)
        path, weights = self.folder / name, f"{name}.data"
        if weights not in self.hashes:
            return open_(path)
        with ThreadPoolExecutor(1, "proof") as beside:
            proof = beside.submit(self._prove, weights)
            try:
                return open_(path)
            finally:
                proof.result()  # says better what is wrong than what failed to open it

    def _prove(self, name: str) -> None:
        if name not in self.hashes:
            raise FolderBroken(f"{self.folder / name} is not part of what was written.")
        if _sha256(self.folder / name) != self.hashes[name]:
            raise FolderBroken(f"{self.folder / name} is damaged.")

    def content(self, name: str) -> bytes:
        """Return what a small file holds, proved. Raise FolderBroken."""
        path = self.folder / name
        try:
            content = path.read_bytes()
        except OSError as error:
            raise FolderBroken(f"{path} cannot be read: {error.strerror}.") from error
        if hashlib.sha256(content).hexdigest() != self.hashes.get(name):
            raise FolderBroken(f"{path} is damaged.")
        return content

    def is_whole(self) -> bool:
        """Whether all is there that was written, and each file of it is known."""
        try:
            there = {file.name for file in self.folder.iterdir()} - {_HASHES_FILE}
            for name in self.hashes:
                self.file(name)
        except (OSError, FolderBroken):
            return False
        return there == self.hashes.keys()


Found = TypeVar("Found", bound=Kept)


def find(
    folder: Path,
    read: Callable[[Path], Found],
    write: Callable[[Path], None],
    *,
    broken: Found | None = None,
) -> Found:
    """Return what `read` makes of a folder; where that is broken or not there, `write` it first.

    `broken` is one in which a file was found damaged: it is made anew unless another process has
    done so. Raise FolderBroken when what was just written is, OSError, and what `write` raises.
    """
    if broken is None:
        with suppress(FolderBroken):
            found = read(folder)
            _note_use(folder)
            return found
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        try:
            found = read(folder)
        except FolderBroken as error:
            if folder.exists():
                log.warning("%s It is made anew.", error)
        else:
            if broken is None or found.hashes != broken.hashes or found.is_whole():
                return found
            log.warning("%s is damaged. It is made anew.", folder.name)
        _make(folder, write)
    return read(folder)


def _note_use(folder: Path) -> None:
    with suppress(OSError):  # it may be read only
        os.utime(folder)


def _remove_unused(cache: Path) -> None:
    """Remove the kept folders that nobody has opened for long.

    Called when another is made, so that they take no more of the disk than what was used lately.
    Whoever opened one before that and needs another of its files makes it anew.
    """
    for folder in cache.iterdir():
        with suppress(OSError):  # another process was quicker
            is_ours = folder.suffix == _PART or (folder / _HASHES_FILE).is_file()
            if is_ours and time.time() - folder.stat().st_mtime > UNUSED_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)


def _make(folder: Path, write: Callable[[Path], None]) -> None:
    # Of a process that was killed. What else begins so may be made just now, beside this one.
    for left in folder.parent.glob(f"{folder.name}.{'[0-9a-f]' * 32}{_PART}"):
        shutil.rmtree(left, ignore_errors=True)
    # A name of its own: what that process had begun may still be writing.
    part = folder.with_name(f"{folder.name}.{uuid.uuid4().hex}{_PART}")
    part.mkdir()
    try:
        write(part)
        hashes = {file.name: _sha256(file) for file in sorted(part.iterdir())}
        (part / _HASHES_FILE).write_text(json.dumps(hashes, indent=1))
        for file in part.iterdir():
            _sync(file)
        shutil.rmtree(folder, ignore_errors=True)  # a broken one
        part.rename(folder)
        _sync(folder.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    _remove_unused(folder.parent)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the lock of one folder. It dies with the process."""
    descriptor = os.open(folder.with_name(folder.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _sha256(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise FolderBroken(f"{file} cannot be read: {error.strerror}.") from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
