"""The site's own commands: what the launcher runs, with which arguments and environment."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from launcher.supervisor import Command

EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}


@dataclass(frozen=True, kw_only=True)
class Address:
    host: str
    port: int

    @property
    def bind(self) -> str:
        return f"{_bracketed(self.host)}:{self.port}"

    @property
    def local_host(self) -> str:
        """How this machine reaches itself there."""
        return EVERYWHERE.get(self.host, self.host)

    @property
    def url(self) -> str:
        return f"http://{_bracketed(self.local_host)}:{self.port}"


def host_name(environ: Mapping[str, str]) -> str:
    """A name that ALLOWED_HOSTS lets through."""
    for host in environ.get("ALLOWED_HOSTS", "").split(","):
        if name := host.strip().removeprefix("*").removeprefix("."):
            return name
    return "localhost"


def manage(name: str, *arguments: str) -> Command:
    return Command(name=name, arguments=(sys.executable, "manage.py", name, *arguments))


def children(address: Address, data_dir: Path) -> list[Command]:
    celery = (sys.executable, "-m", "celery", "--app=searchsite")
    worker = (
        # A process forked after a multi-threaded torch or FAISS call hangs.
        "--pool=solo",
        "--without-gossip",
        "--without-mingle",
        "--without-heartbeat",
        "--loglevel=INFO",
    )
    beat = (
        f"--schedule={data_dir / 'run' / 'schedule'}",
        "--pidfile=",  # a stale one would stop the next start; the data folder's lock serves
        "--loglevel=INFO",
    )
    web = (
        # No preload: each process loads its native threads after the fork.
        "--worker-class=gthread",
        "--workers=2",
        "--threads=4",
        "--graceful-timeout=2",
        "--no-control-socket",
        f"--bind={address.bind}",
    )
    return [
        Command(name="worker", arguments=(*celery, "worker", "--queues=semblance", *worker)),
        # Builds the index and does what else takes minutes: no new image waits for it.
        Command(
            name="upkeep",
            arguments=(
                *(*celery, "worker", "--queues=semblance-upkeep", "--hostname=upkeep@%h"),
                *worker,
            ),
        ),
        Command(name="beat", arguments=(*celery, "beat", *beat)),
        Command(
            name="web",
            arguments=(sys.executable, "-m", "gunicorn", "searchsite.wsgi", *web),
            # One thread a query: parallelism comes from processes and threads, and a second
            # OpenMP thread makes a loaded server slower.
            environ={"OMP_NUM_THREADS": "1"},
        ),
    ]


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
