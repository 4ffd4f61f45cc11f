"""Processes that decode files nobody has vouched for, each one file at a time.

A decoder that crashes, hangs or takes all memory takes down its own process and the file it was at,
nothing else. Not multiprocessing: its answers are pickled, which would let a hostile file out of
the decoder again; its processes import the main module; and it passes no open files.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from gallery import confinement
from gallery.decoding import messages
from gallery.decoding.messages import Message
from gallery.errors import ImageRefused, StorageUnavailable

ROOT = Path(__file__).resolve().parent.parent.parent
_GRACE_SECONDS = 5
_START_SECONDS = 60  # it takes a quarter of one, on a machine that is not busy


class DecoderDied(ImageRefused):
    """The process that decoded a file crashed, or did not come to an end in time."""


class DecodersUnavailable(StorageUnavailable):
    """A process that decodes cannot be started, or none is free; no file is at fault."""


@dataclass(frozen=True)
class Bounds:
    """What a process may take for one file."""

    seconds: int
    memory_bytes: int
    wait_seconds: float | None = None  # for a free process; None: as long as it takes
    what: str = "image"  # that the file is, for sentences


class Answer(NamedTuple):
    message: Message
    seconds: float  # that it took, without the wait for a process that is free


class _Ended(Exception):
    """A process is gone in the middle of a file: its exit status, or the signal as minus."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status

    @property
    def is_late(self) -> bool:
        return self.status == -signal.SIGALRM


class Pool:
    """Up to n processes, each started when it is first needed. For any number of threads."""

    def __init__(self, n: int) -> None:
        self.n = n
        self._slots = threading.BoundedSemaphore(n)
        self._lock = threading.Lock()
        self._idle: list[_Process] = []
        # Locked by who decodes a large image.
        self._room = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the pool

    def ask(self, request: dict[str, Any], file: int, bounds: Bounds) -> Answer:
        """Have a process work on an open file; return its answer. Waits for a free process.

        Raise DecoderDied when it ends in the middle of it, twice: another process tries once more,
        because one may also be killed for want of memory, or may just have gone from idleness.
        Raise DecodersUnavailable when none can be started, or none is free in time.
        """
        said = {"seconds": bounds.seconds, "memory_bytes": bounds.memory_bytes, **request}
        with self._slot(bounds.wait_seconds):
            began = time.monotonic()
            for is_last in (False, True):
                try:
                    return Answer(self._ask(said, file, bounds), time.monotonic() - began)
                except _Ended as ended:
                    if is_last or ended.is_late:
                        raise DecoderDied(_sentence(ended, bounds)) from ended
        raise AssertionError("the second try gives an answer or a reason")

    @contextlib.contextmanager
    def _slot(self, wait_seconds: float | None) -> Iterator[None]:
        if not self._slots.acquire(timeout=wait_seconds):
            raise DecodersUnavailable("Too many images are being looked at. Try again soon.")
        try:
            yield
        finally:
            self._slots.release()

    def close(self) -> None:
        """End the processes. No file may be under way."""
        with self._lock:
            processes, self._idle = self._idle, []
        for process in processes:
            process.end()
        self._room.close()

    def _ask(self, said: dict[str, Any], file: int, bounds: Bounds) -> Message:
        process = self._take(said)
        with ExitStack() as undo:
            undo.callback(process.end)
            # The process keeps the time itself. This is for one that no longer does, and may have
            # waited for each of the others to decode a large image.
            patience = bounds.seconds * (self.n + 1) + _GRACE_SECONDS
            answer = process.ask(Message(said, file=file), patience)
            undo.pop_all()
        with self._lock:
            self._idle.append(process)
        return answer

    def _take(self, said: dict[str, Any]) -> _Process:
        while True:
            with self._lock:
                process = self._idle.pop() if self._idle else None
            if process is None:
                return _Process(said, self._room.fileno())
            if process.is_alive():
                return process
            process.end()


class _Process:
    def __init__(self, said: dict[str, Any], lock: int) -> None:
        """Start it. Raise DecodersUnavailable when it does not come so far as to decode."""
        with _told_as_unavailable():
            self._socket, theirs = socket.socketpair()
        with theirs, _told_as_unavailable():
            try:
                self._process = _started(theirs.fileno(), lock)
            except OSError:
                self._socket.close()
                raise
        try:
            self.ask(Message(said), _START_SECONDS)
        except _Ended as ended:
            self.end()
            raise DecodersUnavailable(
                f"A process that decodes images ended as it began ({ended}): the log says why."
            ) from ended

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, request: Message, seconds: float) -> Message:
        self._socket.settimeout(seconds)
        try:
            messages.send(self._socket, request)
            return messages.receive(self._socket)
        except TimeoutError:
            raise _Ended(-signal.SIGALRM) from None
        except (EOFError, OSError, ValueError) as error:
            self.end()
            raise _Ended(self._process.returncode) from error

    def end(self) -> None:
        self._socket.close()
        # One that has said its last word is given the moment it takes to be gone, so that how it
        # ended can be told.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=0.5)
        self._process.kill()
        self._process.wait()


@contextlib.contextmanager
def _told_as_unavailable() -> Iterator[None]:
    """Turn a machine that is short of files, memory or processes into DecodersUnavailable."""
    try:
        yield
    except OSError as error:
        why = error.strerror or "the machine refuses"
        raise DecodersUnavailable(
            f"A process that decodes images cannot be started: {why}."
        ) from error


def _started(descriptor: int, lock: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "gallery.decoding.child", str(descriptor), str(lock)],
        cwd=ROOT,
        env=confinement.environment(),
        stdin=subprocess.DEVNULL,
        pass_fds=(descriptor, lock),
    )


def _sentence(ended: _Ended, bounds: Bounds) -> str:
    if ended.is_late:
        return f"The {bounds.what} takes longer than {bounds.seconds} seconds to decode."
    try:
        how = f" ({signal.Signals(-ended.status).name})"
    except ValueError:  # it ended by itself: what it said is in the log
        how = ""
    return f"The {bounds.what} makes its decoder crash{how}."
