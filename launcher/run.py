"""The order of a start: data folder, servers, database, processes, demo, address."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from launcher import environment, health, logs, site, supervisor
from launcher.errors import AlreadyRunning, LauncherError
from launcher.folders import make_private
from launcher.health import Health
from launcher.locks import FileLock
from launcher.servers import EmbeddedServer
from launcher.site import Address
from launcher.supervisor import Supervisor, run_to_end
from launcher.terminal import say

POLL_SECONDS = 0.1
READY_SECONDS = 120.0


@dataclass(frozen=True, kw_only=True)
class Options:
    address: Address
    data_dir: Path
    has_demo: bool


def run(options: Options) -> None:
    """Start everything and keep it up. Ends by an exception only, with everything ended."""
    data_dir = environment.make_data_dir(options.data_dir)
    with ExitStack() as stack:
        lock = FileLock(data_dir / "lock")
        stack.callback(lock.release)
        if not lock.try_exclusive():
            raise AlreadyRunning(
                f"Semblance is running on {data_dir} already, as process {lock.read_pid()}."
            )
        lock.write_pid()
        for name in ("logs", "run"):  # embedded servers make them too, but there may be none
            make_private(data_dir / name)
        supervisor.end_leftovers(data_dir)
        health.check_port(options.address)

        servers = environment.missing_servers(os.environ, data_dir)
        if servers:
            say(f"Starting {' and '.join(server.title for server in servers.values())} ...")
        environ = {
            **os.environ,
            "DATA_DIR": str(data_dir),
            "SECRET_KEY": os.environ.get("SECRET_KEY") or environment.secret_key(data_dir),
            **stack.enter_context(environment.running(servers)),
        }
        for server in servers.values():
            if server.notice:
                say(server.notice)
        start = Start(options, data_dir, environ)
        start.prepare()
        children = Supervisor(
            site.children(options.address, data_dir), data_dir=data_dir, environ=environ, say=say
        )
        stack.callback(children.stop)
        start.open(children)
        keep(children, list(servers.values()))


def keep(children: Supervisor, servers: list[EmbeddedServer]) -> None:
    while True:
        children.check()
        for server in servers:
            logs.rotate(server.log)
            if not server.is_kept():
                say(f"{server.title} ended, starting it again: see {server.log}")
                server.start()
        time.sleep(POLL_SECONDS)


class Start:
    """The steps of one start that are the site's own commands."""

    def __init__(self, options: Options, data_dir: Path, environ: dict[str, str]) -> None:
        self.options = options
        self.data_dir = data_dir
        self.environ = environ
        self.log = data_dir / "logs" / "setup.log"
        self.admin_file = data_dir / "admin.txt"

    def prepare(self) -> None:
        """Bring database and static files up to date, and make the first administrator."""
        say("Preparing the gallery ...")
        if not (self.environ.get("ENCODER") or self.admin_file.exists()):
            say("(Where there is a network, this fetches an encoder of 600 MB, once.)")
        logs.rotate(self.log)
        command = site.manage("prepare", "--admin-file", str(self.admin_file))
        if run_to_end(command, environ=self.environ, log=self.log):
            reason = logs.last_words(self.log).removeprefix("CommandError: ")
            raise LauncherError(f"Cannot prepare the gallery: {reason} (all of it in {self.log})")

    def open(self, children: Supervisor) -> None:
        """Start the processes and return when the page can be used; say where it is."""
        say("Starting worker, beat and web server ...")
        children.start()
        address = self.options.address
        if not self._is_good("/healthz", children):
            raise LauncherError(f"The web server does not answer: see {self.data_dir}/logs/web.log")
        self._load_demo(children)
        if not self._is_good("/readyz", children):
            say(f"Not everything is ready yet. {self._ask('/readyz').text}")
        say(f"\nSemblance is ready: {address.url}")
        if notice := self._ask("/readyz").notice:
            say(notice)
        if self.admin_file.exists():
            say(f"Administrator's password and API token: {self.admin_file}")
        say("Ctrl-C ends it.")

    def _load_demo(self, children: Supervisor) -> None:
        """Once in the life of a data folder, unless it was not wanted the first time."""
        mark = self.data_dir / "demo"
        if mark.exists():
            return
        if self.options.has_demo:
            url = self.options.address.url
            say(f"Loading the demo gallery. The page is there already: {url}")
            command = site.manage("load_demo")
            if run_to_end(command, environ=self.environ, log=None, meanwhile=children.check):
                say("The demo gallery is not complete: the next start goes on with it.")
                return
        mark.write_text("loaded\n" if self.options.has_demo else "not wanted\n")

    def _is_good(self, path: str, children: Supervisor) -> bool:
        """Wait until the server answers well there, or for as long as that is worth."""
        deadline = time.monotonic() + READY_SECONDS
        while not self._ask(path).is_good:
            children.check()
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_SECONDS)
        return True

    def _ask(self, path: str) -> Health:
        return health.ask(self.options.address, path, host=site.host_name(self.environ))
