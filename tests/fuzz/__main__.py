"""`python -m tests.fuzz --seconds 600 [TARGET ...]`: status 1 when a file ended as none should."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from itertools import cycle
from pathlib import Path
from typing import Any

_SLICE_SECONDS = 30.0
_ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    options = _options()
    if options.child:
        return _child(options)
    folder = Path(options.folder or tempfile.mkdtemp(prefix="fuzz-"))
    folder.mkdir(parents=True, exist_ok=True)
    print(f"Faults are written to {folder}/faults", flush=True)  # noqa: T201
    deadline = time.monotonic() + options.seconds
    seed = options.seed
    for name in cycle(options.targets or _names()):
        seconds = min(_SLICE_SECONDS, deadline - time.monotonic())
        if seconds <= 0:
            break
        seed += 1
        _slice(name, seed, seconds, folder)
    faults = sorted((folder / "faults").glob("*.txt"))
    for fault in faults:
        print(f"{fault.name}: {fault.read_text().strip().splitlines()[-1]}", flush=True)  # noqa: T201
    return 1 if faults else 0


def _slice(name: str, seed: int, seconds: float, folder: Path) -> None:
    """Let a process of its own read for a while: it may die of what it reads."""
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "tests.fuzz", "--child", "--folder", str(folder)),
            *("--seed", str(seed), "--seconds", str(seconds), name),
        ],
        cwd=_ROOT,
        env=_environment(folder),
        check=False,
    ).returncode
    if ended:
        from tests.fuzz.runs import note_fault

        why = signal.Signals(-ended).name if ended < 0 else f"status {ended}"
        current = folder / "current"
        note_fault(name, current.read_bytes(), f"The process ended: {why}", folder)


def _child(options: argparse.Namespace) -> int:
    import django

    django.setup()
    from gallery.decoding import decoders
    from tests.fuzz import runs

    (name,) = options.targets
    runs.bound()
    folder = Path(options.folder)
    tally = runs.run(name, seed=options.seed, seconds=options.seconds, folder=folder)
    decoders.close()
    print(  # noqa: T201
        f"{name}: {tally.read:,} files, {tally.endings:,} endings so far, the slowest took "
        f"{tally.slowest_seconds:.2f} s",
        flush=True,
    )
    return 0


def _environment(folder: Path) -> dict[str, str]:
    """Return the settings of the process that reads; no server is asked."""
    return os.environ | {
        "DJANGO_SETTINGS_MODULE": "searchsite.settings",
        "SECRET_KEY": "none",
        "DATABASE_URL": "postgresql:///none",
        "REDIS_URL": "unix:///none",
        "DATA_DIR": str(folder / "data"),
        "ARCHIVE_MAX_GIGABYTES": "0.1",
        "ARCHIVE_MAX_MEMBERS": "2000",
        "DECODE_SECONDS": "20",
    }


def _names() -> list[str]:
    import django

    os.environ |= _environment(Path(tempfile.gettempdir(), "fuzz-names"))
    django.setup()
    from tests.fuzz.targets import TARGETS

    return list(TARGETS)


def _options() -> Any:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="what reads; default: all")
    parser.add_argument("--seconds", type=float, default=600.0, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--folder", default="", help="for faults; the same one goes on")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
