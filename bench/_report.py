"""What every benchmark shares: rows beside their rival, medians of runs in turn, exit status."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass


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


@dataclass(frozen=True)
class Options:
    is_quick: bool
    is_json: bool


def options(description: str) -> Options:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="smaller sizes, fewer runs")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    given = parser.parse_args()
    return Options(given.quick, given.json)


def medians(ours: Callable[[], object], rival: Callable[[], object], *, runs: int) -> Pair:
    """Return the median seconds of each, run in turn so that a busy moment hits both."""
    times: tuple[list[float], list[float]] = ([], [])
    for run in range(runs + 1):
        for way, seconds in zip((ours, rival), times, strict=True):
            started = time.perf_counter()
            way()
            if run:  # the first warms up
                seconds.append(time.perf_counter() - started)
    return Pair(statistics.median(times[0]), statistics.median(times[1]))


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


def show(rows: list[Row], given: Options) -> None:
    """Print the rows and end the program: status 1 when a floor is missed."""
    write = sys.stdout.write
    if given.is_json:
        write(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    else:
        width = max(len(row.what) for row in rows)
        write(f"{'what':{width}}  {'ours':>12}  {'rival':>12}  {'ratio':>7}  {'floor':>6}  limit\n")
        for row in rows:
            write(
                f"{row.what:{width}}  {row.ours:>12}  {row.rival:>12}  {row.ratio:6.1f}x  "
                f"{row.floor:5.1f}x  {row.limit}\n"
            )
    sys.exit(any(row.ratio < row.floor for row in rows))
