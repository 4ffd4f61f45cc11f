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

OPTIONS = "options.json"


class Run:
    """Begun by a first command and gone on with by the same one; at its end `output` is there.

    Until then there is nothing under that name: an encoder's folder is whole or not at all.
    """

    def __init__(self, output: Path) -> None:
        self.output = output
        self.folder = output.with_name(f"{output.name}.training")

    @contextmanager
    def held(self, options: Mapping[str, Any], *, restart: bool) -> Iterator[bool]:
        """Hold the run against other processes; give whether it goes on with one that was begun.

        Raise TrainingFailed when another process is at it, when it was begun with other options,
        or when the output is there already.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise TrainingFailed(f"Another process trains {self.output} just now.") from error
            if self.output.exists() and (not self.output.is_dir() or any(self.output.iterdir())):
                if not self._is_begun:
                    shutil.rmtree(self.folder)
                raise TrainingFailed(f"{self.output} is there already: name another folder.")
            yield self._begin(options, restart=restart)
        finally:
            os.close(descriptor)

    @property
    def _is_begun(self) -> bool:
        return (self.folder / OPTIONS).exists()

    def _begin(self, options: Mapping[str, Any], *, restart: bool) -> bool:
        file = self.folder / OPTIONS
        said = json.dumps(options, indent=2, sort_keys=True)
        if restart:
            file.unlink(missing_ok=True)
        if not self._is_begun:
            for old in self.folder.iterdir():
                shutil.rmtree(old) if old.is_dir() else old.unlink()
            state.replace(file, said.encode())
            return False
        before = json.loads(file.read_bytes())
        if before != json.loads(said):
            others = sorted({name for name, _ in _items(before) ^ _items(json.loads(said))})
            raise TrainingFailed(
                f"{self.folder} holds a training with other options ({', '.join(others)}): name "
                "them as before, or begin anew with --restart."
            )
        return True

    def publish(self, fill: Callable[[Path], None]) -> None:
        """Let `fill` write an encoder's folder, give it its name, and clear up."""
        folder = self.folder / "encoder"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        fill(folder)
        for file in folder.iterdir():
            # Weights are written for nobody else to read; who serves them may be another user.
            shutil.copymode(self.folder / OPTIONS, file)
            with file.open("rb") as written:
                os.fsync(written.fileno())
        state.sync_folder(folder)
        folder.rename(self.output)
        state.sync_folder(self.output.parent)
        (self.folder / OPTIONS).unlink()  # first: what a killed process leaves is no run
        shutil.rmtree(self.folder)


def _items(options: Mapping[str, Any]) -> set[tuple[str, str]]:
    return {(name, json.dumps(value)) for name, value in options.items()}
