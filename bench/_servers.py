"""Web servers to measure, in processes of their own: ours as bin/start runs it, and the rival."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 180
STOP_SECONDS = 20


@dataclass(frozen=True)
class Process:
    """What to run, and with which variables."""

    arguments: tuple[str, ...]
    environ: dict[str, str]


class Web(NamedTuple):
    """A web server that answers."""

    address: str
    pid: int


@contextmanager
def running(process: Process, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as output:
        started = subprocess.Popen(
            process.arguments, cwd=ROOT, env=os.environ | process.environ,
            stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    try:
        yield started
    finally:
        started.terminate()
        try:
            started.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


def our_site(address: str, data_dir: Path) -> dict[str, Process]:
    """Return what bin/start runs, with its own arguments and variables, by name."""
    from launcher.site import Address, children

    host, _, port = address.rpartition(":")
    return {
        child.name: Process(tuple(child.arguments), dict(child.environ))
        for child in children(Address(host=host, port=int(port)), data_dir)
    }


def our_worker(data_dir: Path) -> Process:
    return our_site("127.0.0.1:0", data_dir)["worker"]


@contextmanager
def our_web(data_dir: Path, path: str) -> Iterator[Web]:
    """Run our web server until the block ends, once the path answers 200."""
    address, log = free_address(), data_dir / "logs" / "web.log"
    with running(our_site(address, data_dir)["web"], log) as process:
        wait_for(address, path, process, log)
        yield Web(address, process.pid)


def rival_web(address: str, library: Path, *, workers: int, **variables: str) -> Process:
    """Return the rival under gunicorn: threads of one process, or of two."""
    gunicorn = (
        *(sys.executable, "-m", "gunicorn", "bench.rivals.flask_clip:app"),
        *("--worker-class=gthread", f"--workers={workers}", "--threads=4", "--timeout=300"),
        *("--no-control-socket", f"--bind={address}"),
    )
    return Process(gunicorn, {"LIBRARY": str(library), **variables})


def free_address() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{found.getsockname()[1]}"


def wait_for(address: str, path: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return when the path answers 200. End the program when it does not in time."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if status_of(address, path) == 200:
            return
        time.sleep(0.1)
    sys.exit(f"{address}{path} did not answer in time. {log.read_text()[-3000:]}")


def status_of(address: str, path: str) -> int:
    """Return the status of a GET; 0 when nobody answers."""
    connection = http.client.HTTPConnection(address, timeout=60)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


def ask(address: str, paths: list[str], *, clients: int, seconds: float) -> list[float]:
    """Return the milliseconds of each request, asked by clients in a process of their own."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "paths"
        file.write_text("\n".join(paths))
        done = subprocess.run(
            [sys.executable, "-m", "bench._client", address, str(file), str(clients), str(seconds)],
            cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True,
        )  # fmt: skip
    milliseconds: list[float] = json.loads(done.stdout)
    return milliseconds
