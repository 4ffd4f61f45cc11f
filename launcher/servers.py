"""Embedded servers, shared by every process that works on the same data folder.

A server lives exactly as long as somebody holds a share of its lock file. The one who finds no
server running starts a keeper for it (launcher.keeper), a small process that outlives whoever
started it and ends the server when the last share is given back: by stop(), or by the kernel
when a process is killed. So it does not matter who comes first, who goes last, and how.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from launcher import processes
from launcher.errors import ServerFailed
from launcher.folders import make_private
from launcher.locks import POLL_SECONDS, FileLock

ROOT = Path(__file__).resolve().parent.parent

START_SECONDS = 60  # crash recovery after a long kill -9 can take its time
STOP_SECONDS = 4


class EmbeddedServer(ABC):
    """A server on a unix socket under the data folder. start() and stop() may be repeated."""

    name: ClassVar[str]
    title: ClassVar[str]
    stop_signal: ClassVar[signal.Signals]

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir.resolve()
        self.log = self.data_dir / "logs" / f"{self.name}.log"
        run = self.data_dir / "run"
        self.users_lock = FileLock(run / f"{self.name}.users", timeout_seconds=START_SECONDS)
        self._starting = FileLock(run / f"{self.name}.starting", timeout_seconds=START_SECONDS)
        self.keeper_lock = FileLock(run / f"{self.name}.keeper")
        self._is_shared = False
        self._keeper_pid: int | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """Where clients find the server. Known once it has been started for the first time."""

    @property
    @abstractmethod
    def is_running(self) -> bool:
        """It accepts connections now."""

    @property
    def notice(self) -> str:
        """What is unusual about where it keeps its data, or nothing."""
        return ""

    # What the keeper calls.

    @abstractmethod
    def prepare(self) -> None:
        """Make all that the server needs, and end what a killed keeper has left of it."""

    @abstractmethod
    def spawn(self) -> subprocess.Popen[bytes]: ...

    # What everybody else calls.

    def start(self) -> None:
        """Return when the server answers. Raise ServerFailed when it does not."""
        make_private(self.log.parent)
        make_private(self.users_lock.path.parent)
        if not self._is_shared:
            self.users_lock.acquire_shared()
            self._is_shared = True
        with contextlib.ExitStack() as undo:
            undo.callback(self.stop)
            with self._starting:
                if not self.is_kept():
                    self._start_keeper()
                else:
                    self._wait_until_running()
            undo.pop_all()

    def stop(self) -> None:
        """Give our share back. The last one out waits until the server has ended."""
        if not self._is_shared:
            return
        if self.users_lock.try_exclusive():
            self._end_keeper()
        self.users_lock.release()
        self._is_shared = False
        self._keeper_pid = None

    def is_kept(self) -> bool:
        """Somebody sees to it that the server is up, or comes up again."""
        return self.keeper_lock.is_held_exclusively()

    def _start_keeper(self) -> None:
        command = [sys.executable, "-P", "-m", "launcher.keeper", self.name, str(self.data_dir)]
        ours, theirs = os.pipe()
        try:
            # Not subprocess: that takes a child which outlives us for a mistake.
            self._keeper_pid = os.posix_spawn(
                sys.executable,
                command,
                {**os.environ, "PYTHONPATH": str(ROOT)},
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, theirs, 1),
                ],
            )
        finally:
            os.close(theirs)
        with os.fdopen(ours) as answer:
            message = answer.read().strip()
        if message != "ready":
            raise ServerFailed(message or f"{self.title} did not start: see {self.log}")

    def _end_keeper(self) -> None:
        """Only for the last one out, who holds the users' lock alone: nobody can come in."""
        pid = self.keeper_lock.read_pid() if self.is_kept() else self._keeper_pid
        if pid is None:
            return
        processes.end(
            lambda: processes.alive(pid), timeout_seconds=STOP_SECONDS + 3, first=signal.SIGTERM
        )
        with contextlib.suppress(ChildProcessError):  # another process has started it
            os.waitpid(pid, os.WNOHANG)

    def _wait_until_running(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self.is_running:
            if time.monotonic() > deadline or not self.is_kept():
                raise ServerFailed(f"{self.title} is not answering: see {self.log}")
            time.sleep(POLL_SECONDS)
