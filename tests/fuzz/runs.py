"""One target, again and again: spoil, read, keep what ended in a new way, write down faults."""

from __future__ import annotations

import resource
import signal
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from random import Random

from tests.fuzz.mutations import spoil
from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
MORE_BYTES = 700_000_000  # of address space, above what the libraries take
CPU_SECONDS = 10  # for one file
_SPLICED = 0.1  # share of files that are begun by one and ended by another


@dataclass
class Tally:
    read: int = 0
    endings: int = 0
    slowest_seconds: float = 0.0


def bound() -> None:
    """Let this process die of a file that takes too much."""
    with Path("/proc/self/statm").open() as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MORE_BYTES, used + MORE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


class Examples:
    """Files for a target: the sound ones first, then spoiled ones without an end."""

    def __init__(self, name: str, random: Random, folder: Path | None = None) -> None:
        self._random, self._ways = random, TARGETS[name].ways
        folders = [CORPUS] if folder is None else [CORPUS, folder]
        files = [path for one in folders for path in sorted(one.glob(f"{name}-*"))]
        self._known = TARGETS[name].seeds() + [path.read_bytes() for path in files]
        self.sound = len(self._known)

    def __iter__(self) -> Iterator[bytes]:
        yield from self._known[: self.sound]
        while True:
            yield spoil(self._random, self._begun(), self._ways)

    def add(self, content: bytes) -> None:
        """Spoil this one further."""
        self._known.append(content)

    def _begun(self) -> bytes:
        content = self._random.choice(self._known)
        if self._random.random() >= _SPLICED:
            return content
        other = self._random.choice(self._known)
        begin = content[: self._random.randrange(len(content) + 1)]
        return begin + other[self._random.randrange(len(other) + 1) :]


def run(name: str, *, seed: int, seconds: float, folder: Path) -> Tally:
    """Read spoiled files for so long. `folder` gets faults, and what ended in a new way."""
    tally = Tally()
    endings = _Endings(name, folder)
    examples = Examples(name, Random(f"{name} {seed}"), folder / "kept")
    deadline = time.monotonic() + seconds
    for content in examples:
        if time.monotonic() > deadline:
            break
        (folder / "current").write_bytes(content)  # for who finds this process dead
        begin = time.process_time()
        ending = _read(name, content, folder)
        seconds_taken = time.process_time() - begin
        tally.read += 1
        if seconds_taken > tally.slowest_seconds:
            tally.slowest_seconds = seconds_taken
            (folder / f"{name}.slowest").write_bytes(content)
        if endings.is_new(ending, content):
            examples.add(content)
    tally.endings = len(endings.known)
    return tally


def _read(name: str, content: bytes, folder: Path) -> str:
    signal.setitimer(signal.ITIMER_VIRTUAL, CPU_SECONDS)
    try:
        return TARGETS[name].read(content)
    except Exception:  # noqa: BLE001 - whatever it is, it is a fault, and the next file is read
        ending = traceback.format_exc()
        note_fault(name, content, ending, folder)
        return ending
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


class _Endings:
    """How files have ended, and one file for each way."""

    def __init__(self, name: str, folder: Path) -> None:
        self._name, self._kept = name, folder / "kept"
        self._kept.mkdir(parents=True, exist_ok=True)
        self._file = folder / f"{name}.endings"
        self._file.touch()
        self.known = set(self._file.read_text().splitlines())

    def is_new(self, ending: str, content: bytes) -> bool:
        line = " ".join(ending.split())
        if line in self.known:
            return False
        self.known.add(line)
        with self._file.open("a") as file:
            file.write(line + "\n")
        (self._kept / f"{self._name}-{_short(content)}").write_bytes(content)
        return True


def note_fault(name: str, content: bytes, why: str, folder: Path) -> None:
    """Write a file that should not have ended so, and why, unless another ended alike."""
    lines = why.strip().splitlines()
    where = [line for line in lines if "/gallery/" in line][-1:]
    where.append(lines[-1].partition(":")[0])
    faults = folder / "faults"
    faults.mkdir(exist_ok=True)
    path = faults / f"{name}-{_short(' '.join(where).encode())}"
    if not path.exists():
        path.write_bytes(content)
        path.with_name(f"{path.name}.txt").write_text(why)


def _short(content: bytes) -> str:
    return sha256(content).hexdigest()[:10]
