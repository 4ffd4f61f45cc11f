"""A real worker process on the tests' own database and Redis."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from django.conf import settings
from django.db import connection

ROOT = Path(__file__).resolve().parent.parent


class Worker:
    """`celery worker -P solo`, as bin/start runs it, in a process group of its own."""

    def __init__(self, log: Path, **variables: str) -> None:
        self.log = log
        url = os.environ["DATABASE_URL"]
        test_url = f"{url.rsplit('/', 1)[0]}/{connection.settings_dict['NAME']}"
        self._environ = os.environ | {
            "DATABASE_URL": test_url,
            "DATA_DIR": str(settings.MEDIA_ROOT.parent),
            **variables,
        }
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "searchsite", "worker", "-P", "solo",
                 "--without-gossip", "--without-mingle"],
                cwd=ROOT, env=self._environ, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def kill(self) -> None:
        """kill -9: no line of Python runs after this."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self.kill()


def wait_until(
    is_true: Callable[[], object], *, seconds: float = 120, worker: Worker | None = None
) -> None:
    """Return as soon as the condition holds; fail the test when it does not in time."""
    deadline = time.monotonic() + seconds
    while not is_true():
        if worker is not None and worker.process.poll() is not None:
            raise AssertionError(f"The worker ended: {worker.log.read_text()[-3000:]}")
        if time.monotonic() > deadline:
            log = worker.log.read_text()[-3000:] if worker else ""
            raise AssertionError(f"Not within {seconds} seconds. {log}")
        time.sleep(0.05)
