"""bin/start from the outside: sentences, signals, kill -9. The set-up of .venv is left out."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from launcher.accounts import Account, for_postgres
from launcher.environment import temporary_data_dir
from launcher.locks import FileLock
from launcher.postgres import EmbeddedPostgres
from launcher.redis import EmbeddedRedis
from launcher.servers import ROOT
from tests.launcher.conftest import kill_everything, processes_below, wait_until

MANAGE = (sys.executable, str(ROOT / "manage.py"))


def environ() -> dict[str, str]:
    """Ours without the servers of the tests: the launcher has to bring its own."""
    own = ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "DATA_DIR")
    return {name: value for name, value in os.environ.items() if name not in own}


def start(
    *arguments: str | Path, account: Account | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "launcher", *arguments],
        cwd=ROOT,
        env=environ(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **(account.credentials if account else {}),
    )


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_wrong_arguments_end_with_status_2():
    for arguments in (["--port", "0"], ["--port", "web"], ["--colour", "red"]):
        done = start(*arguments)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr


def test_a_taken_port_is_one_sentence(new_data_dir: Path, taken_port: int):
    done = start("--data", new_data_dir, "--port", str(taken_port))
    assert done.returncode == 1
    assert done.stderr == (
        f"Port {taken_port} is taken by another program: choose one with --port.\n"
    )


def test_a_host_that_is_not_ours_is_one_sentence(new_data_dir: Path, free_port: int):
    done = start("--data", new_data_dir, "--port", str(free_port), "--host", "192.0.2.1")
    assert done.returncode == 1
    assert done.stderr.startswith(f"Cannot listen on 192.0.2.1:{free_port}: ")


def test_a_second_start_says_that_the_first_is_running(new_data_dir: Path):
    with FileLock(new_data_dir / "lock") as lock:
        lock.write_pid()
        done = start("--data", new_data_dir)
    assert done.returncode == 1
    assert done.stderr == (
        f"Semblance is running on {new_data_dir} already, as process {os.getpid()}.\n"
    )


def test_a_data_folder_that_is_a_file_is_one_sentence(new_data_dir: Path):
    file = new_data_dir / "file"
    file.touch()
    done = start("--data", file)
    assert done.returncode == 1
    assert done.stderr == f"The data folder {file} is not a folder.\n"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_data_folder_we_may_not_write_is_one_sentence(new_data_dir: Path):
    closed = new_data_dir / "closed"
    closed.mkdir(mode=0o500)
    done = start("--data", closed)
    assert done.returncode == 1
    assert done.stderr.startswith(
        f"The data folder {closed} is closed to us: it belongs to user id"
    )
    assert start("--data", closed / "var").stderr.startswith("Cannot make the data folder")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_data_folder_of_root_is_one_sentence_for_an_ordinary_user(new_data_dir: Path):
    account = for_postgres(new_data_dir / "missing")
    if not account.can_enter(Path(sys.executable).resolve().parent) or not account.can_enter(ROOT):
        pytest.skip("an ordinary user cannot enter the checkout or its Python")
    done = start("--data", new_data_dir, account=account)
    assert done.returncode == 1
    assert done.stderr.startswith(
        f"The data folder {new_data_dir} is closed to us: it belongs to user id"
    )


@dataclass
class Site:
    process: subprocess.Popen[str]
    data_dir: Path
    port: int

    def said(self) -> str:
        return (self.data_dir.parent / "said").read_text()

    def get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=60) as answer:
            return str(answer.read().decode())

    def manage(self, *arguments: str) -> str:
        done = subprocess.run(
            [*MANAGE, *arguments],
            env={**environ(), "DATA_DIR": str(self.data_dir)},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return done.stdout


def run_site(data_dir: Path, port: int, **variables: str) -> Site:
    """Start it without demo, and return when it says that it is ready."""
    with (data_dir.parent / "said").open("w") as said:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "launcher", "--no-demo"),
                *("--data", data_dir, "--port", str(port)),
            ],
            cwd=ROOT,
            env=environ() | variables,
            stdout=said,
            stderr=said,
            text=True,
        )
    site = Site(process, data_dir, port)
    try:
        wait_until(
            lambda: "Ctrl-C ends it" in site.said() or process.poll() is not None, seconds=300
        )
        assert process.poll() is None, site.said()
    except BaseException:
        process.terminate()
        process.wait(timeout=60)
        raise
    return site


def pids(folder: Path, word: str) -> list[int]:
    return [each.pid for each in processes_below(folder) if word in each.words]


@pytest.mark.slow
def test_the_life_of_a_site_with_kill_9_in_the_middle(new_data_dir: Path, free_port: int):
    site = run_site(new_data_dir, free_port)
    admin = new_data_dir / "admin.txt"
    text = admin.read_text()
    try:
        assert site.get("/healthz") == "ok"
        assert f"Semblance is ready: http://127.0.0.1:{free_port}\n" in site.said()
        assert str(admin) in site.said()
        assert stat.S_IMODE(admin.stat().st_mode) == 0o600
        assert re.fullmatch(r"username=.+\npassword=.+\ntoken=.+\n", text)
    finally:
        kill_everything(new_data_dir)
        site.process.wait()

    site = run_site(new_data_dir, free_port)
    try:
        assert admin.read_text() == text
        # Beside a running site, manage.py uses its servers and leaves them alone.
        keepers = pids(new_data_dir, "keeper")
        count = "from django.contrib.auth.models import User; print(User.objects.count())"
        assert site.manage("shell", "--no-imports", "-c", count).strip() == "1"
        assert pids(new_data_dir, "keeper") == keepers

        os.kill(pids(new_data_dir, "gunicorn")[0], signal.SIGKILL)
        wait_until(lambda: "web was killed by signal 9, starting it again" in site.said())
    finally:
        began = time.monotonic()
        site.process.terminate()
        assert site.process.wait(timeout=60) == 0
    assert time.monotonic() - began < 30
    assert processes_below(new_data_dir) == []


@pytest.mark.slow
def test_manage_py_starts_servers_for_its_own_life_and_ends_them(new_data_dir: Path):
    done = subprocess.run(
        [*MANAGE, "check", "--database", "default"],
        cwd="/",
        env={**environ(), "DATA_DIR": str(new_data_dir)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (new_data_dir / "postgres").exists()
    assert processes_below(new_data_dir) == []


def test_manage_py_without_django_is_one_sentence():
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin") or sys.executable
    done = subprocess.run(
        [python, "-S", ROOT / "manage.py", "check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert (
        done.stderr.strip() == "There is no django in this Python: run bin/manage, it sets all up."
    )


@pytest.mark.slow
def test_it_uses_the_servers_that_the_environment_names(new_data_dir: Path, free_port: int):
    with temporary_data_dir() as elsewhere:
        servers = {
            "DATABASE_URL": EmbeddedPostgres(elsewhere),
            "REDIS_URL": EmbeddedRedis(elsewhere),
        }
        with ExitStack() as running:
            for server in servers.values():
                running.callback(server.stop)
                server.start()
            addresses = {name: server.url for name, server in servers.items()}
            site = run_site(new_data_dir, free_port, **addresses)
            running.callback(site.process.wait, 60)
            running.callback(site.process.terminate)
            assert '"ready": true' in site.get("/readyz")
            assert not (new_data_dir / "postgres").exists()
            assert "Starting Postgres" not in site.said()
