"""`python -m launcher.keeper NAME DATA`: the parent of one embedded server.

It says "ready" (or why not) on standard output, restarts the server when it dies, and ends it
when nobody holds a share of its lock any more.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

from launcher import logs, processes
from launcher.errors import LauncherError, ServerFailed
from launcher.locks import FileLock
from launcher.postgres import EmbeddedPostgres
from launcher.redis import EmbeddedRedis
from launcher.servers import START_SECONDS, STOP_SECONDS, EmbeddedServer

KINDS: dict[str, type[EmbeddedServer]] = {
    kind.name: kind for kind in (EmbeddedPostgres, EmbeddedRedis)
}
POLL_SECONDS = 0.1
ATTEMPTS = 5
HEALTHY_SECONDS = 30.0


class Keeper:
    def __init__(self, server: EmbeddedServer, users: FileLock) -> None:
        self.server = server
        self.users = users
        self.process: subprocess.Popen[bytes] | None = None
        self.is_asked_to_stop = False

    def start(self) -> None:
        logs.rotate(self.server.log)
        self.server.prepare()
        self.process = self.server.spawn()
        deadline = time.monotonic() + START_SECONDS
        while not self.server.is_running and not self.is_over():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise ServerFailed(
                    f"{self.server.title} did not start: {logs.last_words(self.server.log)} "
                    f"(all of it in {self.server.log})"
                )
            time.sleep(0.02)

    def keep(self) -> None:
        """Return when nobody needs the server any more, or when it cannot be kept up."""
        failures = 0
        started = time.monotonic()
        while not self.is_over():
            time.sleep(POLL_SECONDS)
            if self.process is not None and self.process.poll() is None:
                continue
            failures = 1 if time.monotonic() - started > HEALTHY_SECONDS else failures + 1
            if failures > ATTEMPTS:
                return
            time.sleep(min(0.1 * 2**failures, 5))
            started = time.monotonic()
            try:
                self.start()
            except (LauncherError, OSError) as error:
                self._log(str(error))

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            pid = self.process.pid
            processes.end(
                lambda: processes.alive(pid),
                timeout_seconds=STOP_SECONDS,
                first=self.server.stop_signal,
            )
            self.process.wait()

    def is_over(self) -> bool:
        # Once we have the users' lock nobody can come in until the server has ended.
        return self.is_asked_to_stop or self.users.try_exclusive()

    def ask_to_stop(self, signal_number: int, frame: FrameType | None) -> None:
        self.is_asked_to_stop = True

    def _log(self, sentence: str) -> None:
        with self.server.log.open("a") as log:
            log.write(f"keeper: {sentence}\n")


def answer(sentence: str) -> None:
    """Tell the one who waits for us, and let go of the pipe and of the terminal."""
    with contextlib.suppress(BrokenPipeError):  # it was killed meanwhile
        os.write(1, sentence.encode())
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)


def main(name: str, data_dir: str) -> int:
    # A session of our own: a Ctrl-C at the terminal must not end a server whose clients are
    # still finishing.
    os.setsid()
    server = KINDS[name](Path(data_dir))
    keeper = Keeper(server, FileLock(server.users_lock.path))
    signal.signal(signal.SIGTERM, keeper.ask_to_stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    server.keeper_lock.acquire_exclusive()
    server.keeper_lock.write_pid()
    try:
        keeper.start()
    except (LauncherError, OSError) as error:
        answer(str(error))
        return 1
    answer("ready")
    try:
        keeper.keep()
    finally:
        keeper.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
