"""A day's work of a site: what its processes hold in the evening, and how quick they are then.

    .venv/bin/python bench/day.py [--quick] [--json] [--encoder FOLDER]

What bin/start runs (the web server, two processes of four threads; worker, upkeep and beat) on an
embedded Postgres and Redis of its own. Eight visitors send 10,000 small images through the API and
ask 50,000 questions meanwhile (bench/_crowd.py; with --quick 500 and 2,500): texts that were asked
before and new ones, filters, images of the gallery, images that are shown, second pages of a
ranking and the page that people see. An answer that is not 200, or does not hold what it must, ends
the run. The images come through the API and not from an import because that costs a web process
most: it reads, has decoded and stores what an import would do elsewhere. The rival is the same site
in the morning: after a tenth of the day, and, with the gallery of the evening, just started.

Memory is what processes have for themselves alone (USS), the web server's two processes and the
one they come from together. The floors, and why:

- At the end of the day at most 1.15 times of what it was after a tenth. What may grow does so to a
  bound: 1,024 texts and 256 filters that are remembered, vectors newer than the snapshot. These
  come to some 15 MB a process here. A kilobyte that was lost with each question would be 50.
- While the gallery stands still and 5,000 more questions are asked, at most 1.03 times of what it
  was before them; and at their end at most 1.15 times of a fresh server that was asked as many:
  what a larger gallery costs, both have.
- Its p95 then at most 1.25 times that of the fresh one, asked in turn. Those of the first and the
  last tenth of the day stand beside each other without a floor, as the gallery grew between.
- Two full-size encoders of random weights in one process, as a web process has them during a
  switch: 400 MB with texts in int8, which is what one may take; and when one has been let go of, at
  most 1.15 times of what one took.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from bench import _crowd, _library, _memory, _pictures, _servers, _two_encoders
from bench import _report as report
from bench._crowd import QUESTIONS, VISITORS, Asked, Visit
from bench._memory import DECODER, Note
from bench._report import Pair, Row
from bench._servers import Web
from bench._visitor import SEARCH, Visitor

READY = f"{SEARCH}?q=warm"
IMAGE_SIZE = (64, 48)
WARM = 80  # rounds before anything is noted: each process has asked for all kinds of things then
TURNS = 4
TIMES_LARGER, TIMES_LARGER_AT_REST, TIMES_SLOWER = 1.15, 1.03, 1.25  # at most
PATIENCE = 600.0  # seconds for the worker to embed what was sent
MILLION = 1_000_000  # numbers of rounds that nothing is sent in begin there


@dataclass(frozen=True)
class Size:
    before: int  # images that are there in the morning
    images: int
    rest: int  # rounds while the gallery stands still

    @property
    def questions(self) -> int:
        return QUESTIONS * self.images


FULL, QUICK = Size(500, 10_000, 1_000), Size(200, 500, 100)


@dataclass(frozen=True)
class Site:
    web: Web
    worker_pid: int
    morning: Visit  # what the visitors do, from the first image of the day on


def main() -> None:
    given = report.options(__doc__ or "", encoder="bundled")
    report.show(rows(QUICK if given.is_quick else FULL, given.encoder), given)


def rows(size: Size, encoder: str) -> Iterator[Row]:
    with _library.servers(ENCODER=encoder) as folder:
        with running_site(folder, size) as site:
            yield from a_day(site, size)
            yield from beside_a_fresh_one(site, folder, size)
        yield from _two_encoders.rows(folder)


@contextmanager
def running_site(folder: Path, size: Size) -> Iterator[Site]:
    """Run a site with some images until the block ends."""
    from django.contrib.auth.models import User
    from django.core.management import call_command

    from gallery.models import ApiToken

    report.tell("writing images")
    pictures = folder / "pictures"
    _pictures.write(pictures, size.before + size.images, IMAGE_SIZE)
    call_command("prepare", stdout=io.StringIO())
    token = ApiToken.issue(User.objects.create_user("bench"), "bench")
    (folder / "run").mkdir(exist_ok=True)
    with ExitStack() as stack:
        pids = {}
        for name in ("worker", "upkeep", "beat"):
            process = _servers.our_site("127.0.0.1:0", folder)[name]
            log = folder / "logs" / f"{name}.log"
            pids[name] = stack.enter_context(_servers.running(process, log)).pid
        web = stack.enter_context(_servers.our_web(folder, READY))
        report.tell("sending the first images")
        visitor = Visitor(web.address, token)
        with ThreadPoolExecutor(VISITORS) as threads:
            sent = [
                threads.submit(_crowd.send, visitor, number, pictures)
                for number in range(size.before)
            ]
        known = [one.result() for one in sent]
        wait_for_vectors(size.before)
        yield Site(
            web, pids["worker"],
            Visit(web.address, token, str(pictures), known, size.before, size.images),
        )  # fmt: skip


def a_day(site: Site, size: Size) -> Iterator[Row]:
    ask(replace(site.morning, first=MILLION, rounds=WARM, is_sending=False))
    report.tell(f"{size.images:,} images and {size.questions:,} questions")
    with _memory.noted({"web": site.web.pid, "worker": site.worker_pid}) as notes:
        asked = ask(site.morning)
    began = time.monotonic()
    wait_for_vectors(size.before + size.images)
    report.tell(f"the worker was {time.monotonic() - began:.0f} s behind")
    for what, name in (("web server", "web"), ("worker", "worker"), ("a decoder", DECODER)):
        yield larger(f"{what}: memory in the last tenth; the second", notes, name, asked)
    tenth = len(asked) // 10
    what = f"p95 of the last tenth of {len(asked):,} questions; the first"
    yield report.faster(what, Pair(p95(asked[-tenth:]), p95(asked[:tenth])), floor=0)


def beside_a_fresh_one(site: Site, folder: Path, size: Size) -> Iterator[Row]:
    """Ask the server of the day and one that was just started in turn. No image comes."""
    rounds = size.rest // TURNS
    at_rest = replace(site.morning, rounds=rounds, is_sending=False)
    with _servers.our_web(folder, READY) as fresh:
        report.tell("the same gallery, and a web server that was just started")
        ask(replace(at_rest, address=fresh.address, first=2 * MILLION, rounds=WARM))
        day_asked: list[Asked] = []
        fresh_asked: list[Asked] = []
        with _memory.noted({"day": site.web.pid, "fresh": fresh.pid}) as notes:
            for first in range(3 * MILLION, 3 * MILLION + 2 * TURNS * rounds, 2 * rounds):
                day_asked += ask(replace(at_rest, first=first))
                # Other texts: what one of them has encoded, Redis has for both.
                fresh_asked += ask(replace(at_rest, first=first + rounds, address=fresh.address))
    n = f"{len(day_asked):,} questions"
    what = f"web server at rest: memory after {n}; before"
    yield larger(what, notes, "day", day_asked, most=TIMES_LARGER_AT_REST)
    day, new = (notes[-1].megabytes[name] for name in ("day", "fresh"))
    what = f"web server after the day; a fresh one after {n}"
    yield Row(what, f"{day:.0f} MB", f"{new:.0f} MB", new / day, 1 / TIMES_LARGER)
    pair = Pair(p95(day_asked), p95(fresh_asked))
    yield report.faster(f"p95 of {n} after the day; fresh", pair, floor=1 / TIMES_SLOWER)


def larger(
    what: str, notes: list[Note], name: str, asked: list[Asked], *, most: float = TIMES_LARGER
) -> Row:
    """Return the row of how much larger processes are in the last tenth than in the second."""
    ten_times = [asked[len(asked) * tenth // 10].at for tenth in range(10)] + [asked[-1].at]
    early = _memory.median(notes, name, since=ten_times[1], until=ten_times[2])
    late = _memory.median(notes, name, since=ten_times[9], until=ten_times[10])
    a_question = (late - early) * 1e6 / (0.8 * len(asked))
    return Row(
        what, f"{late:.0f} MB", f"{early:.0f} MB", early / late, 1 / most,
        f"{a_question:+,.0f} bytes a question",
    )  # fmt: skip


def p95(asked: list[Asked]) -> float:
    """Return seconds."""
    return float(np.percentile([one.milliseconds for one in asked], 95)) / 1000


def ask(visit: Visit) -> list[Asked]:
    """Have a crowd in a process of its own do it."""
    done = subprocess.run(
        [sys.executable, "-m", "bench._crowd"], input=json.dumps(asdict(visit)),
        cwd=_servers.ROOT, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return [Asked(*one) for one in json.loads(done.stdout)]


def wait_for_vectors(images: int) -> None:
    """Return when so many images have a vector. End the program when they do not in time."""
    from gallery.models import Image, ImageEmbedding, State

    ends = time.monotonic() + PATIENCE
    while (found := ImageEmbedding.objects.count()) < images:
        if time.monotonic() > ends:
            sys.exit(f"{found:,} of {images:,} images have a vector.")
        time.sleep(0.5)
    if others := Image.objects.exclude(state=State.READY).count():
        sys.exit(f"{others:,} images with a vector are not said to be ready.")


if __name__ == "__main__":
    main()
