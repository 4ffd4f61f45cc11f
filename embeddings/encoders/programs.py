"""Modules of ours that run as programs: what they load is gone with them, and they with us."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).parents[2]
FAILED = 1  # exit status: what it was given it cannot do, and could not another time
REFUSED = 3  # what it was given cannot be used, by anybody
PASSING = 4  # the machine lacked something, which it may have later
_LEASH = "SEMBLANCE_LEASH"  # a descriptor that is at its end when whoever runs the program is gone


@dataclass(frozen=True)
class Ended:
    """How a program ended."""

    code: int | None  # its exit status, below zero: the signal that killed it; None: too slow
    why: str  # it failed, without a full stop; "" when it did not
    said: bytes = b""  # what it wrote to stdout


def run(module: str, *arguments: object, seconds: float, stdin: bytes = b"") -> Ended:
    """Run a module as a program until it ends, or for so long."""
    command = (sys.executable, "-m", module, *map(str, arguments))
    leash, held = os.pipe()
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            capture_output=True,
            input=stdin,
            timeout=seconds,
            check=False,
            pass_fds=(leash,),
            env=os.environ | {_LEASH: str(leash)},
        )
    except subprocess.TimeoutExpired:
        return Ended(None, f"it took longer than {seconds / 60:.0f} minutes")
    finally:
        os.close(leash)
        os.close(held)
    if done.returncode == 0:
        return Ended(0, "", done.stdout)
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    last = lines[-1] if lines else f"its process ended with {done.returncode}"
    return Ended(done.returncode, re.sub(r"^[\w.]+: ", "", last))  # the exception's own name


def end_with_parent() -> None:
    """Have this program end when whoever runs it is gone, were it by kill -9.

    Nobody takes what it makes then, and the next one who wants it runs it again, beside this one.
    """
    if leash := os.environ.get(_LEASH):
        threading.Thread(target=_end_after, args=(int(leash),), daemon=True).start()


def fail(code: int, why: str) -> NoReturn:
    """End this program with an exit status and a sentence."""
    sys.stderr.write(f"{why}\n")
    sys.exit(code)


def _end_after(leash: int) -> None:
    os.read(leash, 1)  # nothing ever comes
    os._exit(1)
