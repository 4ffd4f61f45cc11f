"""Searches over HTTP, and a new image's way into them, with whole servers running.

    .venv/bin/python bench/serving.py [--quick] [--json]

Ours is the web server and the worker of bin/start on an embedded Postgres and Redis; the rival is
bench/rivals/flask_clip.py under gunicorn, two processes of four threads, which was faster here
than one process and than Flask's own server. Both search 100,000 clustered vectors (with --quick
20,000) and encode texts with the same ViT-B/32 of random weights, one torch thread a process, and
both are asked in turn by the same client. Milliseconds are those of the client. Ours encodes in
int8, as it does by itself once the gallery's own texts and images have proved it; with
ENCODER_PRECISION=float32 it is asked to do as the rival does.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ["OMP_NUM_THREADS"] = "1"  # before numpy reads it

import numpy as np

from bench import _library, _servers, _uploads
from bench import _report as report
from bench._data import WORDS, Float16s, clustered
from bench._report import Pair, Row

if TYPE_CHECKING:
    from embeddings.models import Space

A_TEXT = 6  # words, so 8 tokens
REPEATED = 40  # texts that are asked again and again
TEXT_TOWER_WEIGHTS = 12 * (4 * 512**2 + 2 * 512 * 2048)  # that every text is put through
API, RIVAL = "/api/v1/search", "/search"
FLOOR = 5.0
TIMES_SLOWER = 2.0  # at most, while an index is built


@dataclass(frozen=True)
class Size:
    images: int
    rounds: int  # of asking both in turn
    seconds: float  # of asking one
    uploads: int


FULL, QUICK = Size(100_000, 4, 6, 40), Size(20_000, 2, 2, 10)


@dataclass(frozen=True)
class Both:
    """Where ours and the rival answer."""

    ours: str
    rival: str
    caching_rival: str

    def in_turn(
        self, texts: Iterator[list[str]], rival: str, *, clients: int, size: Size
    ) -> tuple[list[float], list[float]]:
        """Return the milliseconds of every request to ours and to a rival."""
        milliseconds: tuple[list[float], list[float]] = ([], [])
        ways = ((self.ours, API), (rival, RIVAL))
        for some in itertools.islice(texts, size.rounds):
            for (address, path), taken in zip(ways, milliseconds, strict=True):
                taken += _servers.ask(
                    address, paths(path, some), clients=clients, seconds=size.seconds
                )
        return milliseconds


def main() -> None:
    given = report.options(__doc__ or "")
    os.environ.setdefault("ENCODER_PRECISION", "int8")
    report.show(rows(QUICK if given.is_quick else FULL), given)


def rows(size: Size) -> Iterator[Row]:
    with ExitStack() as stack:
        folder = stack.enter_context(_library.servers())
        encoder = folder / "encoder"
        report.tell("writing an encoder")
        run("-m", "bench._encoder", str(encoder))
        os.environ["ENCODER"] = str(encoder)
        vectors = clustered(size.images, seed=1)
        space = make_library(vectors, folder, encoder)
        del vectors
        with servers(folder, encoder) as both:
            yield from searches(both, size)
        address = stack.enter_context(ours(folder))
        yield from _uploads.rows(address, folder, size.uploads)
        yield from while_building(address, size)
        report.tell(f"done with {space.name}")


def make_library(vectors: Float16s, folder: Path, encoder: Path) -> Space:
    """Store the same vectors and records for both, ours with a snapshot."""
    from embeddings import snapshots
    from embeddings.encoders import sources
    from gallery.models import ImageEmbedding

    report.tell(f"{len(vectors):,} images, and their index")
    library = folder / "rival"
    library.mkdir()
    np.save(library / "vectors.npy", vectors.astype(np.float32))
    records = [
        {"id": i, "caption": f"image number {i}", "tags": [], "url": f"/images/{i}",
         "thumbnail_url": f"/images/{i}/thumbnail.webp"}
        for i in range(len(vectors))
    ]  # fmt: skip
    (library / "records.json").write_text(json.dumps(records))
    source = sources.find(str(encoder))
    space = _library.make_space(source.name, source.revision)
    _library.fill(space, vectors)
    snapshots.build(ImageEmbedding, space)
    return space


@contextmanager
def ours(folder: Path) -> Iterator[str]:
    """Run our web server until the block ends; give its address."""
    with _servers.our_web(folder, paths(API, ["warm"])[0]) as web:
        yield web.address


@contextmanager
def servers(folder: Path, encoder: Path) -> Iterator[Both]:
    """Run ours, the rival, and the rival with a memory for texts, side by side."""
    report.tell("starting the servers")
    with ExitStack() as stack:
        addresses = [stack.enter_context(ours(folder))]
        for variables in ({}, {"CACHE": "1"}):
            address, log = _servers.free_address(), folder / "logs" / "rival.log"
            rival = _servers.rival_web(
                address, folder / "rival", workers=2,
                ENCODER=str(encoder), OMP_NUM_THREADS="1", **variables,
            )  # fmt: skip
            process = stack.enter_context(_servers.running(rival, log))
            _servers.wait_for(address, paths(RIVAL, ["warm"])[0], process, log)
            addresses.append(address)
        yield Both(*addresses)


def searches(both: Both, size: Size) -> Iterator[Row]:
    repeated = next(texts(REPEATED, seed=0))
    again = itertools.repeat(repeated)
    for address, path in ((both.ours, API), (both.caching_rival, RIVAL)):
        # More than once round, so that each process has every text.
        _servers.ask(address, paths(path, repeated), clients=4, seconds=size.seconds)
    cases = (
        ("text seen before", both.rival, again, FLOOR),
        ("text seen before by both", both.caching_rival, again, 0.0),
        ("new text", both.rival, texts(5000, seed=1), FLOOR),
    )
    for name, rival, some, floor in cases:
        report.tell(f"searches, {name}")
        one = both.in_turn(some, rival, clients=1, size=size)
        limit = ""
        if name == "new text":
            width = 1 if os.environ["ENCODER_PRECISION"].startswith("int8") else 4  # bytes
            seconds = float(np.median(one[0])) / 1000
            limit = report.of_bandwidth(TEXT_TOWER_WEIGHTS * width, seconds)
        for share in (50, 95):
            pair = Pair(*(float(np.percentile(taken, share)) / 1000 for taken in one))
            what = f"{size.images:,}: {name}, one client, p{share}"
            yield report.faster(what, pair, floor=floor if share == 95 else 0, limit=limit)
        four = both.in_turn(some, rival, clients=4, size=size)
        rates = [len(taken) / (size.rounds * size.seconds) for taken in four]
        yield Row(
            f"{size.images:,}: {name}, four clients", f"{rates[0]:.1f} /s", f"{rates[1]:.1f} /s",
            rates[0] / rates[1], floor,
        )  # fmt: skip


def while_building(address: str, size: Size) -> Iterator[Row]:
    """Ask while nothing else happens and while a new snapshot is built."""
    report.tell("searches during a rebuild")
    repeated = paths(API, next(texts(REPEATED, seed=0)))
    seconds = size.rounds * size.seconds
    before = _servers.ask(address, repeated, clients=1, seconds=seconds)
    build = subprocess.Popen([sys.executable, "manage.py", "build_index"], cwd=_servers.ROOT)
    try:
        during: list[float] = []
        while build.poll() is None and len(during) < 10 * len(before):
            during += _servers.ask(address, repeated, clients=1, seconds=2)
    finally:
        build.wait()
    if build.returncode:
        sys.exit("manage.py build_index failed: its message is above.")
    for share, floor in ((50, 1 / TIMES_SLOWER), (95, 0.0)):
        pair = Pair(*(float(np.percentile(taken, share)) / 1000 for taken in (during, before)))
        what = f"{size.images:,}: searches during a rebuild; before it, p{share}"
        yield report.faster(what, pair, floor=floor)


def texts(n: int, *, seed: int) -> Iterator[list[str]]:
    """Yield lists of n texts of some words, each list another one."""
    random = np.random.default_rng(seed)
    while True:
        yield [" ".join(random.choice(WORDS, A_TEXT)) for _ in range(n)]


def paths(path: str, some: list[str]) -> list[str]:
    """Return the addresses of searches for ten hits, whatever their scores."""
    every_hit = "&band=unlikely" if path == API else ""
    return [f"{path}?q={quote(text)}&k=10{every_hit}" for text in some]


def run(*arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], cwd=_servers.ROOT, check=True, capture_output=True)


if __name__ == "__main__":
    main()
