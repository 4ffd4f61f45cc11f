"""The environment variables the site runs with, completed by what this machine can give."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

from launcher.errors import LauncherError
from launcher.folders import make_passable
from launcher.postgres import EmbeddedPostgres
from launcher.redis import EmbeddedRedis
from launcher.servers import ROOT, EmbeddedServer

# The variable that names a server, and the server that is started when it names none.
SERVERS: dict[str, type[EmbeddedServer]] = {
    "DATABASE_URL": EmbeddedPostgres,
    "REDIS_URL": EmbeddedRedis,
}


def data_dir(environ: Mapping[str, str]) -> Path:
    """DATA_DIR, relative to the checkout."""
    return ROOT / Path(environ.get("DATA_DIR") or "var").expanduser()


def missing_servers(environ: Mapping[str, str], folder: Path) -> dict[str, EmbeddedServer]:
    """The servers that the environment does not name, by the variable that would."""
    return {name: kind(folder) for name, kind in SERVERS.items() if not environ.get(name)}


@contextlib.contextmanager
def embedded_servers(environ: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Run the missing servers for the life of the block; give the variables to add."""
    folder = data_dir(environ)
    servers = missing_servers(environ, folder)
    if not servers:
        yield {}
        return
    make_data_dir(folder)
    with running(servers) as urls:
        found = {"DATA_DIR": str(folder.resolve()), **urls}
        if not environ.get("SECRET_KEY"):
            found["SECRET_KEY"] = secret_key(folder)
        yield found


@contextlib.contextmanager
def running(servers: Mapping[str, EmbeddedServer]) -> Iterator[dict[str, str]]:
    """Start the servers; give their addresses by the names of the variables."""
    with ExitStack() as stack:
        for server in servers.values():
            stack.callback(server.stop)
            server.start()
        yield {name: server.url for name, server in servers.items()}


@contextlib.contextmanager
def temporary_data_dir() -> Iterator[Path]:
    """A data folder for the life of the block, for tests and benchmarks.

    Not simply a TemporaryDirectory: that is closed to the user who runs Postgres for root.
    """
    with tempfile.TemporaryDirectory(prefix="semblance-") as parent:
        Path(parent).chmod(0o711)
        folder = make_passable(Path(parent) / "var")
        try:
            yield folder
        finally:
            shutil.rmtree(EmbeddedPostgres(folder).home, ignore_errors=True)


def make_data_dir(folder: Path) -> Path:
    """Make the data folder if need be, and see that it can be used."""
    try:
        make_passable(folder)
    except FileExistsError:
        raise LauncherError(f"The data folder {folder} is not a folder.") from None
    except OSError as error:
        raise LauncherError(f"Cannot make the data folder {folder}: {error.strerror}.") from error
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        found = folder.stat()
        raise LauncherError(
            f"The data folder {folder} is closed to us: it belongs to user id {found.st_uid}, "
            f"its mode is {stat.S_IMODE(found.st_mode):o}."
        )
    return folder.resolve()


def secret_key(folder: Path) -> str:
    """The key that signs sessions, made once. Whoever reads it can log in as anybody."""
    path = folder / "secret_key"
    if not path.exists():
        # Linked when complete, so that two starts agree on one key and a kill leaves none.
        with tempfile.NamedTemporaryFile("w", dir=folder) as draft:  # made with mode 0600
            draft.write(secrets.token_urlsafe(50) + "\n")
            draft.flush()
            os.fsync(draft.fileno())
            with contextlib.suppress(FileExistsError):
                os.link(draft.name, path)
    return path.read_text().strip()
