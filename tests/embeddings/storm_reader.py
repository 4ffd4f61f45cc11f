"""A web process as an index sees it: it keeps its index current and searches all the while.

`python -m tests.embeddings.storm_reader SPACE` searches until a line comes on its standard input;
then it compares its live index with a plain reading of Postgres and prints what it saw as JSON.
"""

from __future__ import annotations

import json
import sys
import threading
import time

import django
import numpy as np


def main() -> None:
    django.setup()
    from embeddings import live
    from embeddings.models import Space
    from gallery.models import ImageEmbedding

    space = Space.objects.get(pk=int(sys.argv[1]))
    index = live.index_of(ImageEmbedding, space)
    threading.Thread(target=live.keep_current, daemon=True).start()
    is_over = threading.Event()
    threading.Thread(target=wait_for_a_line, args=(is_over,), daemon=True).start()
    seen = search_until(is_over, space)
    # The keeper refreshes on its own; what it holds after that is what the process would serve.
    held = index.refresh()
    seen |= {"difference": difference(held, space), "snapshot": held.snapshot_id}
    sys.stdout.write(json.dumps(seen) + "\n")


def wait_for_a_line(is_over) -> None:
    sys.stdin.readline()
    is_over.set()


def search_until(is_over, space) -> dict[str, object]:
    """Search without pause; return how often, by which routes, and the slowest."""
    from embeddings.nearest import nearest
    from gallery.models import ImageEmbedding
    from tests.rows import make_vectors

    queries = make_vectors(64, seed=5)
    routes: dict[str, int] = {}
    slowest, searches = 0.0, 0
    while not is_over.is_set():
        started = time.monotonic()
        found = nearest(ImageEmbedding, space, queries[searches % 64], k=5)
        slowest = max(slowest, time.monotonic() - started)
        routes[found.plan.route] = routes.get(found.plan.route, 0) + 1
        searches += 1
        if searches == 1:
            sys.stdout.write("searching\n")
            sys.stdout.flush()
    return {"searches": searches, "routes": routes, "slowest_seconds": slowest}


def difference(view, space) -> str:
    """Return "" if the view holds what Postgres holds, each id with its own vector."""
    from tests.rows import truth

    expected = truth(space)
    alive = view.base.ids if view.alive is None else view.base.ids[view.alive]
    held = {*alive.tolist(), *view.delta.ids.tolist()}
    if held != set(expected):
        return f"{len(held - set(expected))} too many, {len(set(expected) - held)} too few"
    for image_id, vector in expected.items():
        query = np.array(vector, dtype=np.float32)
        (nearest,) = view.scan(query, 1).ids.tolist()
        if expected[nearest] != vector:
            return f"the vector of {image_id} is not the one in Postgres"
    return ""


if __name__ == "__main__":
    main()
