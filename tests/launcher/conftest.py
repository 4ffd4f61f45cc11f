from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from launcher.environment import temporary_data_dir
from launcher.folders import make_passable
from launcher.postgres import EmbeddedPostgres


@pytest.fixture(autouse=True)
def commits_that_wait_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """As users have them: what is committed here must outlive a killed server."""
    monkeypatch.delenv("PGOPTIONS", raising=False)


@pytest.fixture
def new_data_dir() -> Iterator[Path]:
    """An empty folder that Postgres' user can enter, unlike tmp_path when root runs the tests."""
    with temporary_data_dir() as folder:
        yield folder
        wait_until(lambda: not processes_below(folder))


@pytest.fixture(scope="session")
def made_database() -> Iterator[Path]:
    with temporary_data_dir() as folder:
        server = EmbeddedPostgres(folder)
        server.start()
        server.stop()
        yield server.home


@pytest.fixture
def data_dir(new_data_dir: Path, made_database: Path) -> Path:
    """A data folder whose database has been made: that takes a second each time."""
    subprocess.run(["cp", "-a", made_database, new_data_dir / "postgres"], check=True)
    return new_data_dir


@pytest.fixture
def far_data_dir(new_data_dir: Path) -> Path:
    """A path too long for a unix socket."""
    return make_passable(new_data_dir / ("a-long-name-" * 8) / "data, with a comma")


class Running(NamedTuple):
    pid: int
    words: str


def processes_below(folder: Path) -> list[Running]:
    """Living processes that name the folder, work in it or were started with it in a variable."""
    found = []
    for process in psutil.process_iter():
        try:
            words = " ".join(process.cmdline())
            places = [words, process.cwd(), *process.environ().values()]
            is_alive = process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            continue
        is_ours = any(str(folder) in place for place in places)
        if is_alive and is_ours and process.pid != os.getpid():
            found.append(Running(process.pid, words))
    return found


def kill_everything(folder: Path) -> None:
    """kill -9 of all of them. Servers' children leave on their own once their parent is gone."""
    for running in processes_below(folder):
        with suppress(ProcessLookupError):
            os.kill(running.pid, signal.SIGKILL)
    wait_until(lambda: not processes_below(folder))


def wait_until(is_true: Callable[[], bool], *, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline, f"still not so after {seconds} s"
        time.sleep(0.05)
