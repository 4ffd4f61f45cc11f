"""Locks between processes: flock, which the kernel gives back even after kill -9."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from launcher.errors import LauncherError

POLL_SECONDS = 0.05


class FileLock:
    """One open file that may hold its lock, shared or exclusive.

    As a context manager it is a plain mutex.
    """

    def __init__(self, path: Path, *, timeout_seconds: float = 60) -> None:
        self.path = path
        self.timeout_seconds = timeout_seconds
        self._descriptor: int | None = None

    def try_exclusive(self) -> bool:
        """Take the lock alone, or turn a share of it into that, if nobody else has one."""
        return self._try(fcntl.LOCK_EX)

    def acquire_exclusive(self) -> None:
        self._acquire(fcntl.LOCK_EX)

    def acquire_shared(self) -> None:
        self._acquire(fcntl.LOCK_SH)

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def is_held_exclusively(self) -> bool:
        # Asks for a share: two who ask at the same time do not disturb each other.
        probe = FileLock(self.path)
        try:
            return not probe._try(fcntl.LOCK_SH)
        finally:
            probe.release()

    def write_pid(self) -> None:
        """Leave this process's id in the locked file, for those who find it locked."""
        assert self._descriptor is not None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def read_pid(self) -> int | None:
        """The id the holder has left. Only worth something while the lock is held."""
        try:
            return int(self.path.read_text())
        except (FileNotFoundError, ValueError):
            return None

    def __enter__(self) -> Self:
        self.acquire_exclusive()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()

    def _acquire(self, operation: int) -> None:
        # Polled and not blocking: a stopped process that holds the lock must end in a
        # sentence, not in a terminal that hangs.
        deadline = time.monotonic() + self.timeout_seconds
        while not self._try(operation):
            if time.monotonic() > deadline:
                holder = self.read_pid()
                by = f" by process {holder}" if holder else ""
                raise LauncherError(f"{self.path} has been locked{by} for too long.")
            time.sleep(POLL_SECONDS)

    def _try(self, operation: int) -> bool:
        if self._descriptor is None:
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, operation | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
