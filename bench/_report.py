"""What every benchmark shares: rows beside their rival, medians of runs in turn, exit status."""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

ROUND = 10  # runs of one, then as many of the other


@dataclass(frozen=True)
class Pair:
    """Median seconds of both."""

    ours: float
    rival: float


@dataclass(frozen=True)
class Row:
    """One figure beside its rival's. `ratio` says how many times better ours is."""

    what: str
    ours: str
    rival: str
    ratio: float
    floor: float  # the least ratio we accept
    limit: str = ""  # the physical limit and the share of it that is reached

    @property
    def is_missed(self) -> bool:
        return self.ratio < self.floor


@dataclass(frozen=True)
class Options:
    is_quick: bool
    is_json: bool
    device: str = "cpu"
    encoder: str = ""


def options(description: str, *, devices: Sequence[str] = (), encoder: str = "") -> Options:
    """Read the arguments. `encoder` is the usual one of a benchmark that can be told another.

    From here on SIGTERM ends the program as an error does: with all servers that it started.
    """
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="smaller sizes, fewer runs")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    if devices:
        parser.add_argument("--device", choices=devices, default=devices[0])
    if encoder:
        parser.add_argument("--encoder", default=encoder, help=f"a folder, or {encoder}")
    given = vars(parser.parse_args())
    return Options(
        given["quick"], given["json"], given.get("device", "cpu"), given.get("encoder", "")
    )


def medians(ours: Callable[[], object], rival: Callable[[], object], *, runs: int) -> Pair:
    """Return the median seconds of each, run in turn so that a busy moment hits both.

    A turn is ROUND runs: a rival that reads all data empties the processor's cache for who comes
    next, which a server that answers one way only never sees.
    """
    times: tuple[list[float], list[float]] = ([], [])
    for way in (ours, rival):
        way()  # warms up
    for start in range(0, runs, ROUND):
        for way, seconds in zip((ours, rival), times, strict=True):
            seconds += [seconds_of(way) for _ in range(min(ROUND, runs - start))]
    return Pair(statistics.median(times[0]), statistics.median(times[1]))


def seconds_of(way: Callable[[], object]) -> float:
    started = time.perf_counter()
    way()
    return time.perf_counter() - started


def faster(what: str, pair: Pair, *, floor: float, limit: str = "") -> Row:
    """Return the row of how many times faster ours is."""
    return Row(
        what,
        f"{pair.ours * 1000:.2f} ms",
        f"{pair.rival * 1000:.2f} ms",
        pair.rival / pair.ours,
        floor,
        limit,
    )


def at_least(what: str, value: float, least: float, *, rival: float | None = None) -> Row:
    """Return the row of a share that must reach a bound, such as recall."""
    beside = f">= {least:g}" if rival is None else f"{rival:.3f}"
    return Row(what, f"{value:.3f}", beside, value / least, 1.0)


def at_most(what: str, value: float, most: float, unit: str, *, limit: str = "") -> Row:
    """Return the row of a figure that must stay within a bound, such as seconds or bytes."""
    return Row(what, f"{value:.4g} {unit}", f"<= {most:g} {unit}", most / value, 1.0, limit)


def of_bandwidth(scanned: float, seconds: float) -> str:
    """Say how many bytes were read, and what share that is of what memory could have given."""
    return f"{scanned / 1e6:.1f} MB read: {scanned / bandwidth() / seconds:.0%} of bandwidth"


def bandwidth() -> float:
    """Return the bytes a second that one thread reads from memory now, best of five."""
    block = np.ones(32_000_000, dtype=np.float64)
    return block.nbytes / min(seconds_of(block.sum) for _ in range(5))


def tell(what: str) -> None:
    """Say on stderr what is being done: a full run takes long."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {what}\n")


def show(rows: Iterable[Row], given: Options) -> None:
    """Print the rows and end the program: status 1 when a floor is missed.

    Each is told on stderr as soon as it is there: what breaks off later costs no figure.
    """
    rows = [_told(row) for row in rows]
    write = sys.stdout.write
    if given.is_json:
        write(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    else:
        width = max(len(row.what) for row in rows)
        write(f"{'what':{width}}  {'ours':>12}  {'rival':>12}  {'ratio':>7}  {'floor':>6}  limit\n")
        for row in rows:
            write(
                f"{row.what:{width}}  {row.ours:>12}  {row.rival:>12}  {row.ratio:6.1f}x  "
                f"{row.floor:5.1f}x  {row.limit}{'  MISSED' if row.is_missed else ''}\n"
            )
    sys.exit(any(row.is_missed for row in rows))


def _told(row: Row) -> Row:
    tell(f"{row.what}: {row.ours}; {row.rival}; {row.ratio:.1f}x")
    return row
