"""The folder beside an encoder to be, in which its training is under way."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from embeddings.errors import TrainingFailed
from embeddings.training import state
from embeddings.training.examples import READ
from embeddings.training.loop import STATE

OPTIONS = "options.json"  # there as long as the folder is one of ours
ENCODER = "encoder"
WHOLE = "whole"  # there as soon as the encoder wants nothing but its name

Options = dict[str, Any]


class Run:
    """Begun by a first command and gone on with by the same one; at its end `output` is there.

    Until then there is nothing under that name: an encoder's folder is whole or not at all.
    """

    def __init__(self, output: Path) -> None:
        self.output = output
        self.folder = output.parent / f"{output.name}.training"

    @contextmanager
    def held(self, options: Mapping[str, Any], *, restart: bool) -> Iterator[bool]:
        """Hold the run against other processes; give whether it goes on with one that was begun.

        Raise TrainingFailed when another process is at it, when it was begun with other options,
        when the output is there already, and when the folder is somebody else's.
        """
        self.output.parent.mkdir(parents=True, exist_ok=True)
        # It will hold images and captions that not everybody on this machine may see.
        self.folder.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            self._lock(descriptor)
            self._check()
            try:
                yield self._begin(options, restart=restart)
            finally:
                if self.folder.exists() and self._begun() is None:
                    self._remove()  # of what was refused nothing is worth keeping
        finally:
            os.close(descriptor)

    def publish(self, fill: Callable[[Path], None]) -> None:
        """Let `fill` write an encoder's folder, give it its name, and clear up."""
        folder, whole = self.folder / ENCODER, self.folder / WHOLE
        whole.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        fill(folder)
        for file in folder.iterdir():
            # Weights are written for nobody else to read; who serves them may be another user.
            shutil.copymode(self.folder / OPTIONS, file)
            with file.open("rb") as written:
                os.fsync(written.fileno())
        state.sync_folder(folder)
        state.replace(whole, b"")
        folder.rename(self.output)
        state.sync_folder(self.output.parent)
        self._remove()

    def _lock(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TrainingFailed(f"Another process trains {self.output} just now.") from error
        # One that came to its end a moment ago has taken the folder with it.
        is_there = self.folder.exists()
        if not is_there or not os.path.samestat(os.fstat(descriptor), self.folder.stat()):
            raise TrainingFailed(f"Another process has just ended training {self.output}.")

    def _check(self) -> None:
        strange = {file.name for file in self.folder.iterdir()} - {OPTIONS, f"{OPTIONS}.new"}
        if strange and not (self.folder / OPTIONS).exists():
            raise TrainingFailed(
                f"{self.folder} is needed and holds something else ({min(strange)}): name another "
                "output, or move that away."
            )
        is_disk = self.output.is_mount()  # a folder can take the place of an empty one, not of this
        if is_disk or _holds_something(self.output):
            if self._begun() is None or self._is_published:
                self._remove()
            what = "is a disk of its own" if is_disk else "is there already"
            raise TrainingFailed(f"{self.output} {what}: name another folder.")

    def _begun(self) -> Options | None:
        """Return the options of the run that was begun here; None where nothing here counts."""
        if not any((self.folder / name).exists() for name in (READ, STATE)):
            return None
        options: Options | None = json.loads((self.folder / OPTIONS).read_bytes())
        return options

    @property
    def _is_published(self) -> bool:
        """Whether the encoder has got its name, by a process that died before it cleared up."""
        return (self.folder / WHOLE).exists() and not (self.folder / ENCODER).exists()

    def _begin(self, options: Mapping[str, Any], *, restart: bool) -> bool:
        said, before = json.dumps(options, indent=2, sort_keys=True), self._begun()
        if restart or before is None:
            self._empty()
            state.replace(self.folder / OPTIONS, said.encode())
            return False
        if before != json.loads(said):
            others = sorted({name for name, _ in _items(before) ^ _items(json.loads(said))})
            raise TrainingFailed(
                f"{self.folder} holds a training with other options ({', '.join(others)}): name "
                "them as before, or begin anew with --restart."
            )
        return True

    def _empty(self) -> None:
        """Remove all but the file that says whose folder it is."""
        # First: whatever is left by a process that is killed meanwhile counts for nothing.
        state.replace(self.folder / OPTIONS, json.dumps(None).encode())
        for old in self.folder.iterdir():
            if old.is_dir() and not old.is_symlink():
                shutil.rmtree(old)
            elif old.name != OPTIONS:
                old.unlink()

    def _remove(self) -> None:
        self._empty()
        (self.folder / OPTIONS).unlink()
        self.folder.rmdir()


def _holds_something(path: Path) -> bool:
    return path.exists() and not (path.is_dir() and not any(path.iterdir()))


def _items(options: Mapping[str, Any]) -> set[tuple[str, str]]:
    return {(name, json.dumps(value)) for name, value in options.items()}
