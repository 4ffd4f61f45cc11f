"""A fresh process: from nothing to its first answer, as the index of a web process comes up.

    python -m bench._start SPACE FILE PLACE

Asks for the neighbours of a row of FILE (a .npy of queries) until the index answers, and prints
its ids and plan as JSON.
"""

from __future__ import annotations

import json
import os
import sys

import numpy as np


def main(space_id: int, query: np.ndarray[tuple[int], np.dtype[np.float32]]) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "searchsite.settings")
    import django

    django.setup()

    from embeddings import live
    from embeddings.models import Space
    from embeddings.nearest import nearest
    from gallery.models import ImageEmbedding

    space = Space.objects.get(pk=space_id)
    live.index_of(ImageEmbedding, space).refresh()
    found = nearest(ImageEmbedding, space, query, k=10)
    answer = {"ids": found.ids.tolist(), "route": found.plan.route, "index": found.plan.index}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main(int(sys.argv[1]), np.load(sys.argv[2])[int(sys.argv[3])])
