"""A whole site on a Postgres and a Redis of its own, any process of which a test may kill.

`assert_whole` is what must be true in the end, whatever was killed.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, LiteralString

import psutil
import psycopg

from launcher.folders import make_private
from launcher.postgres import EmbeddedPostgres
from launcher.redis import EmbeddedRedis
from launcher.servers import EmbeddedServer
from tests.images import make_images

ROOT = Path(__file__).resolve().parents[3]
DAY_SECONDS = 86_400

# The real schedule and its real tasks, fifteen times as often.
QUICK_BEAT = """
import sys
from searchsite.celery import app
for entry in app.conf.beat_schedule.values():
    entry["schedule"] /= 15
app.start(["beat", f"--schedule={sys.argv[1]}", "--pidfile=", "--max-interval=1"])
"""

UNATTENDED = """
from django.contrib.auth.models import User
from gallery.importers import registry
from gallery.imports import ledger, waking
source = registry.load("folder", {{"path": {path!r}}})
ledger.start(source, User.objects.get(), is_unattended=True)
waking.wake()
"""


class Site:
    """Servers, workers, beat, web server and commands on one data folder.

    The servers are children of the test itself, without the keeper that brings them back at once:
    what is killed stays dead until the test starts it again.
    """

    def __init__(self, data_dir: Path, **variables: str) -> None:
        self.data_dir = data_dir
        self.media = data_dir / "media"
        self.postgres = EmbeddedPostgres(data_dir)
        self.redis = EmbeddedRedis(data_dir)
        self.variables = variables
        self._servers: dict[str, subprocess.Popen[bytes]] = {}
        self.processes: list[subprocess.Popen[str]] = []
        make_private(data_dir / "logs")
        make_private(data_dir / "run")

    def __enter__(self) -> Site:
        self.start(self.postgres)
        self.start(self.redis)
        return self

    def __exit__(self, *_error: object) -> None:
        for process in self.processes:
            kill(process)
        for server in (self.redis, self.postgres):
            self.kill(server)

    def copy_to(self, data_dir: Path) -> None:
        """Make the data folder of a site like this one, which must be at rest."""
        parts = [self.data_dir / "admin.txt", self.data_dir / "static"]
        subprocess.run(["cp", "-a", *parts, data_dir], check=True)
        subprocess.run(["cp", "-a", self.postgres.home, data_dir / "postgres"], check=True)

    # Servers

    def start(self, server: EmbeddedServer) -> None:
        server.prepare()
        self._servers[server.name] = server.spawn()
        self.wait_until(lambda: server.is_running)

    def stop(self, server: EmbeddedServer) -> None:
        """End a server as it should be ended."""
        process = self._servers.pop(server.name)
        process.send_signal(server.stop_signal)
        process.wait(timeout=60)

    def kill(self, server: EmbeddedServer) -> None:
        """kill -9 of every process of a server."""
        if process := self._servers.pop(server.name, None):
            kill(process)
            self.wait_until(lambda: not server.is_running)

    # Our own processes

    def worker(self, *options: str) -> subprocess.Popen[str]:
        """A worker of both queues, or of those that `--queues` names."""
        number = 1 + len([*(self.data_dir / "logs").glob("worker-*.log")])
        return self.spawn(
            "-m", "celery", "--app=searchsite", "worker", "--pool=solo", "--without-gossip",
            "--without-mingle", "--without-heartbeat", "--loglevel=INFO",
            f"--hostname=worker-{number}@%h", *options, log=f"worker-{number}",
        )  # fmt: skip

    def beat(self) -> subprocess.Popen[str]:
        return self.spawn("-c", QUICK_BEAT, str(self.data_dir / "run" / "schedule"), log="beat")

    def web(self, port: int = 0) -> str:
        """Start a web server and return its address, once it answers."""
        if not port:
            with socket.create_server(("127.0.0.1", 0)) as free:
                port = free.getsockname()[1]
        process = self.spawn(
            "-m", "gunicorn", "searchsite.wsgi", "--worker-class=gthread", "--workers=2",
            "--threads=4", "--graceful-timeout=2", "--no-control-socket",
            f"--bind=127.0.0.1:{port}", log="web",
        )  # fmt: skip
        url = f"http://127.0.0.1:{port}"
        self.wait_until(lambda: process.poll() is not None or answers(url))
        assert process.poll() is None, self.last_words()
        return url

    def command(self, *arguments: object, **variables: str) -> subprocess.Popen[str]:
        """Start `manage.py` with these arguments."""
        return self.spawn("manage.py", *map(str, arguments), **variables)

    def run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run `manage.py` to its end."""
        process = self.command(*arguments)
        out, err = process.communicate(timeout=240)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def start_unattended_import(self, folder: Path) -> None:
        """Begin an import as a page does: the worker brings it in."""
        done = self.run("shell", "--no-imports", "-c", UNATTENDED.format(path=str(folder)))
        assert done.returncode == 0, done.stderr

    def spawn(self, *arguments: str, log: str = "", **variables: str) -> subprocess.Popen[str]:
        """Start our Python with these arguments; it says what it says to a log, or to the test."""
        to: Any = subprocess.PIPE
        if log:
            to = (self.data_dir / "logs" / f"{log}.log").open("a")
        try:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=ROOT,
                env=os.environ | self.environ | variables,
                stdout=to,
                stderr=to,
                text=True,
                start_new_session=True,
            )
        finally:
            if log:
                to.close()
        self.processes.append(process)
        return process

    @property
    def environ(self) -> dict[str, str]:
        return {
            "DATA_DIR": str(self.data_dir),
            "DATABASE_URL": self.postgres.url,
            "REDIS_URL": self.redis.url,
            "DJANGO_SETTINGS_MODULE": "searchsite.settings",
            "PGOPTIONS": "",  # every commit on the disk, as on a real site
            # What a killed worker had claimed is claimed again in seconds.
            "JOB_LEASE_SECONDS": "3",
            **self.variables,
        }

    @property
    def token(self) -> str:
        """The API token of the administrator, who owns what is imported."""
        return (self.data_dir / "admin.txt").read_text().split("token=")[1].strip()

    # What is true of it

    def wait_until(self, is_true: Callable[[], object], *, seconds: float = 240) -> None:
        deadline = time.monotonic() + seconds
        while not is_true():
            assert time.monotonic() < deadline, self.last_words()
            time.sleep(0.05)

    def last_words(self) -> str:
        logs = sorted((self.data_dir / "logs").glob("*.log"))
        return "\n".join(f"{log.name}: {log.read_text()[-2000:]}" for log in logs)

    def one(self, statement: LiteralString, *values: object) -> Any:
        """Return the one row of a statement, or its one value."""
        with psycopg.connect(self.postgres.url, autocommit=True) as connection:
            row = connection.execute(statement, values).fetchone()
        assert row is not None
        return row[0] if len(row) == 1 else row

    def execute(self, statement: LiteralString) -> None:
        with psycopg.connect(self.postgres.url, autocommit=True) as connection:
            connection.execute(statement)

    def count(self, table: LiteralString) -> int:
        n: int = self.one("SELECT count(*) FROM " + table)
        return n

    def lease_has_run_out(self) -> None:
        """Half a minute has passed since the last sign of life of whoever had an import."""
        self.execute("UPDATE gallery_importrun SET lease_until = now() WHERE state = 'running'")

    def is_embedded(self, n: int) -> bool:
        """Whether n images are there and all of them are ready."""
        ready: int = self.one("SELECT count(*) FROM gallery_image WHERE state = 'ready'")
        return self.count("gallery_image") == ready == n

    def assert_whole(self, n: int, *, failed: int = 0, orphans: int = 0) -> None:
        """Assert that n images are there once each, with vector, file and thumbnails.

        `failed` items have a reason and no item waits. At most so many files are `orphans`, whose
        row was never committed: check_storage removes them when they are old.
        """
        for path in self.files():
            os.utime(path, (time.time() - DAY_SECONDS,) * 2)
        if orphans:
            self._repair_storage(orphans)
        said = self.run("verify", "--hash", "--json")
        assert said.returncode == 0, said.stdout + said.stderr
        sums = {"images": n, "waiting": 0, "parked": 0, "disagreements": 0}
        assert json.loads(said.stdout.splitlines()[-1]) == sums
        images = "SELECT count(*), count(DISTINCT (owner_id, sha256)) FROM gallery_image"
        assert self.one(images) == (n, n)
        vectors = (
            "SELECT count(*), count(DISTINCT (image_id, space_id)) FROM gallery_imageembedding"
        )
        assert self.one(vectors) == (n, n)
        assert len(self.files()) == 3 * n
        items = (
            "SELECT count(*) FILTER (WHERE state = 'waiting'),"
            " count(*) FILTER (WHERE state = 'failed' AND reason <> ''),"
            " count(*) FILTER (WHERE state IN ('failed', 'skipped') AND reason = '')"
            " FROM gallery_importitem"
        )
        assert self.one(items) == (0, failed, 0)

    def _repair_storage(self, orphans: int) -> None:
        said = self.run("check_storage", "--repair", "--json")
        found = json.loads(said.stdout.splitlines()[-1])
        assert (found["missing"], found["damaged"]) == (0, 0), said.stdout
        assert found["orphaned"] <= orphans, said.stdout
        assert found["repaired"] == found["orphaned"]

    def files(self) -> list[Path]:
        return [path for path in self.media.rglob("*") if path.is_file()]


def kill(process: subprocess.Popen[Any]) -> None:
    """kill -9 of a process and of all that it has started: no line of theirs runs after this."""
    if process.poll() is None:
        family = [*psutil.Process(process.pid).children(recursive=True)]
        os.kill(process.pid, signal.SIGKILL)
        for child in family:
            try:
                child.kill()
            except psutil.NoSuchProcess:
                continue
    process.wait()
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def answers(url: str) -> bool:
    try:
        return bool(urllib.request.urlopen(f"{url}/healthz", timeout=5).status == 200)
    except (urllib.error.URLError, OSError):
        return False


def make_pictures(folder: Path, n: int) -> Path:
    """Write n images, no two alike, and a file that is none."""
    folder.mkdir()
    for number in range(n):
        data = make_images.sound("PNG", width=30 + number % 40, height=20 + number // 40)
        (folder / f"{number}.png").write_bytes(data)
    (folder / "broken.png").write_bytes(b"no image")
    return folder
