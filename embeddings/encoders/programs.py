"""Modules of ours that run as programs: what they load is gone with them."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Ended:
    """How a program ended."""

    code: int | None  # its exit status, below zero: the signal that killed it; None: too slow
    why: str  # it failed, without a full stop; "" when it did not
    said: bytes = b""  # what it wrote to stdout


def run(module: str, *arguments: object, seconds: float, stdin: bytes = b"") -> Ended:
    """Run a module as a program until it ends, or for so long."""
    command = (sys.executable, "-m", module, *map(str, arguments))
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            capture_output=True,
            input=stdin,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Ended(None, f"it took longer than {seconds / 60:.0f} minutes")
    if done.returncode == 0:
        return Ended(0, "", done.stdout)
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    last = lines[-1] if lines else f"its process ended with {done.returncode}"
    return Ended(done.returncode, re.sub(r"^[\w.]+: ", "", last))  # the exception's own name
