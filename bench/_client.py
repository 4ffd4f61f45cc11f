"""Ask a server the same way for everybody: some clients at once, each on a connection it keeps.

    python -m bench._client ADDRESS FILE CLIENTS SECONDS

FILE holds the requests' paths, one a line; each client takes the next one that nobody had, and
begins again at the end. Prints the milliseconds of every request as JSON. An answer other than 200,
or with fewer hits than were asked for, ends the program.
"""

from __future__ import annotations

import http.client
import itertools
import json
import sys
import threading
import time
from pathlib import Path

HITS = 10  # of every answer


def ask(address: str, paths: list[str], *, clients: int, seconds: float) -> list[float]:
    """Return the milliseconds of every request that was answered within the time."""
    turn = itertools.count()
    milliseconds: list[float] = []
    failures: list[str] = []
    ends = time.perf_counter() + seconds

    def client() -> None:
        connection = http.client.HTTPConnection(address, timeout=60)
        while time.perf_counter() < ends and not failures:
            path = paths[next(turn) % len(paths)]
            started = time.perf_counter()
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 200 or body.count(b'"score"') < HITS:
                failures.append(f"{path}: {answer.status} {body[:500]!r}")
            milliseconds.append((time.perf_counter() - started) * 1000)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        sys.exit(failures[0])
    return milliseconds


if __name__ == "__main__":
    place, file, number, duration = sys.argv[1:]
    times = ask(
        place, Path(file).read_text().splitlines(), clients=int(number), seconds=float(duration)
    )
    sys.stdout.write(json.dumps(times))
