"""Keeps a handful of child processes up, and ends them together."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from launcher import logs, processes
from launcher.errors import LauncherError
from launcher.folders import make_private
from launcher.servers import ROOT

POLL_SECONDS = 0.05
STOP_SECONDS = 5.0  # a worker deep in a torch call does not hear; then it is killed
HEALTHY_SECONDS = 30.0  # one that lived this long has not failed to start
ATTEMPTS = 5
LONGEST_PAUSE_SECONDS = 10.0

# Set for every child, so that the next start knows it should this one be killed.
MARK = "SEMBLANCE_CHILD_OF"


@dataclass(frozen=True, kw_only=True)
class Command:
    name: str
    arguments: Sequence[str]
    environ: Mapping[str, str] = field(default_factory=dict)  # on top of everybody's


class Child:
    """One command, and the process that runs it now."""

    def __init__(self, command: Command, log: Path) -> None:
        self.command = command
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None
        self.started_at = 0.0
        self.starts_at = 0.0
        self.failures = 0

    def start(self, environ: Mapping[str, str]) -> None:
        logs.rotate(self.log)
        with self.log.open("ab") as log:
            self.process = _spawn(self.command, environ, log)
        self.started_at = time.monotonic()

    def bury(self) -> str:
        """Note the death of the process, plan the next start, say what happened."""
        assert self.process is not None
        pid, status = self.process.pid, self.process.wait()
        # gunicorn's orphaned workers would hold the port for a second.
        processes.end(lambda: processes.in_sessions([pid]), timeout_seconds=1, first=signal.SIGTERM)
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        self.process = None
        is_healthy = time.monotonic() - self.started_at > HEALTHY_SECONDS
        self.failures = 1 if is_healthy else self.failures + 1
        if self.failures >= ATTEMPTS:
            raise LauncherError(
                f"{self.command.name} does not stay up, it {how}: {logs.last_words(self.log)} "
                f"(all of it in {self.log})"
            )
        pause = min(0.5 * 2 ** (self.failures - 1), LONGEST_PAUSE_SECONDS)
        self.starts_at = time.monotonic() + pause
        return f"{self.command.name} {how}, starting it again in {pause:g} s: see {self.log}"


class Supervisor:
    def __init__(
        self,
        commands: Sequence[Command],
        *,
        data_dir: Path,
        environ: Mapping[str, str],
        say: Callable[[str], None],
    ) -> None:
        logs_dir = make_private(data_dir / "logs")
        self.children = [Child(each, logs_dir / f"{each.name}.log") for each in commands]
        self.environ = {**environ, MARK: str(data_dir)}
        self.say = say

    def start(self) -> None:
        for child in self.children:
            child.start(self.environ)

    def check(self) -> None:
        """Call it often: it starts what died again, and cuts logs that grew too large."""
        for child in self.children:
            logs.rotate(child.log)
            if child.process is not None and child.process.poll() is not None:
                self.say(child.bury())
            elif child.process is None and time.monotonic() >= child.starts_at:
                child.start(self.environ)

    def stop(self) -> None:
        running = [child.process for child in self.children if child.process is not None]
        processes.end(
            lambda: processes.in_sessions([process.pid for process in running]),
            timeout_seconds=STOP_SECONDS,
            first=signal.SIGTERM,
        )
        for process in running:
            process.wait()


def run_to_end(
    command: Command,
    *,
    environ: Mapping[str, str],
    log: Path | None,
    meanwhile: Callable[[], None] = lambda: None,
) -> int:
    """Run a command that ends by itself, and return its status. Without a log it may talk."""
    with contextlib.ExitStack() as stack:
        output = stack.enter_context(log.open("ab")) if log else None
        process = _spawn(command, environ, output)
        try:
            while process.poll() is None:
                meanwhile()
                time.sleep(POLL_SECONDS)
        finally:
            processes.end(
                lambda: processes.in_sessions([process.pid]),
                timeout_seconds=STOP_SECONDS,
                first=signal.SIGTERM,
            )
            status = process.wait()
        return status


def _spawn(
    command: Command, environ: Mapping[str, str], output: BinaryIO | None
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command.arguments,
        cwd=ROOT,
        env={**environ, **command.environ},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        # A session of its own: a Ctrl-C at the terminal reaches the launcher alone, and the
        # session's members are found again when their leader has died.
        start_new_session=True,
        preexec_fn=processes.leash(signal.SIGTERM),
    )


def end_leftovers(data_dir: Path) -> None:
    """End what a killed launcher has left. Call it with the data folder's lock held."""
    processes.end(
        lambda: processes.with_variable(MARK, str(data_dir)),
        timeout_seconds=STOP_SECONDS,
        first=signal.SIGTERM,
    )
