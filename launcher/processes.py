"""Ending processes, and processes that end with the one who started them."""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil

PR_SET_PDEATHSIG = 1
POLL_SECONDS = 0.05
KILL_SECONDS = 2.0

_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def leash(death_signal: signal.Signals) -> Callable[[], None] | None:
    """A preexec_fn: the kernel sends the signal to the child when its parent is gone.

    Linux only; elsewhere the next start finds what is left. Call Popen in the main thread: the
    kernel means the thread that forked.
    """
    libc = _libc
    if libc is None:
        return None

    def tie() -> None:
        libc.prctl(PR_SET_PDEATHSIG, int(death_signal))

    return tie


def end(
    find: Callable[[], list[psutil.Process]], *, timeout_seconds: float, first: signal.Signals
) -> None:
    """Ask all that it finds with the `first` signal, and kill what is there after the timeout.

    It looks again until nothing is left: a process that is being ended may still start others.
    """
    deadline, give_up_at = time.monotonic() + timeout_seconds, math.inf
    asked: set[psutil.Process] = set()
    while (left := find()) and (now := time.monotonic()) < give_up_at:
        is_late = now > deadline
        if is_late:
            # From the first kill on: a machine that stood still has killed nothing meanwhile.
            give_up_at = min(give_up_at, now + KILL_SECONDS)
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                if is_late:
                    process.kill()
                elif process not in asked:
                    process.send_signal(first)
                    asked.add(process)
        psutil.wait_procs(left, timeout=POLL_SECONDS)


def alive(pid: int) -> list[psutil.Process]:
    """The process of this id, if there is one that does something."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        if process.status() != psutil.STATUS_ZOMBIE:
            return [process]
    return []


def working_in(folder: Path, names: tuple[str, ...]) -> list[psutil.Process]:
    """Processes of these names whose working folder it is: servers that lost their keeper."""
    found = []
    for process in psutil.process_iter(["name"]):
        if process.info["name"] not in names:
            continue
        with contextlib.suppress(psutil.Error):
            if process.cwd() == str(folder):
                found.append(process)
    return found


def in_sessions(leaders: Iterable[int]) -> list[psutil.Process]:
    """Every process of these sessions, also when the leader itself is gone."""
    wanted = set(leaders)
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getsid(process.pid) in wanted:
                found += alive(process.pid)
    return found


def with_variable(name: str, value: str) -> list[psutil.Process]:
    """Processes that were started with this environment variable."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(name) == value:
                found.append(process)
    return found
