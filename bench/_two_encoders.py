"""Two encoders in one process, as a web process has them while they are switched.

    python -m bench._two_encoders NAME REVISION OTHER_NAME OTHER_REVISION

Encodes a text by one, by both, and lets go of the first. Prints its private megabytes before and
after each as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil

from bench import _report as report
from bench import _servers
from bench._report import Row

DIMENSIONS = 512
TEXT = "two red boats at night"
MOST_MB = 400  # with texts in int8
TIMES_LARGER = 1.15  # at most: after one was let go of, beside one alone


class Megabytes(NamedTuple):
    none: float
    one: float
    two: float
    one_again: float


def rows(folder: Path) -> Iterator[Row]:
    """Measure two ViT-B/32 of random weights. The site's settings stand in the environment."""
    from bench import _encoder
    from embeddings.encoders import exports, sources

    names = []
    for seed in range(2):
        report.tell("writing and exporting an encoder")
        _encoder.write(folder / f"encoder-{seed}", seed=seed)
        source = sources.find(str(folder / f"encoder-{seed}"))
        exports.find(source, sources.cache_dir())
        names += [source.name, source.revision]
    for precision, most in (("float32", 0), ("int8", MOST_MB)):
        command = [sys.executable, "-m", "bench._two_encoders", *names]
        environ = os.environ | {"ENCODER_PRECISION": precision, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            command, cwd=_servers.ROOT, env=environ, stdout=subprocess.PIPE, check=True
        )
        found = Megabytes(*json.loads(done.stdout))
        limit = f"{found.none:.0f} MB without any"
        what = f"two ViT-B/32 in a process, texts in {precision}"
        if most:
            yield report.at_most(what, found.two, most, "MB", limit=limit)
        yield Row(
            f"{what}; one", f"{found.two:.0f} MB", f"{found.one:.0f} MB",
            found.one / found.two, 0, limit,
        )  # fmt: skip
        yield Row(
            f"one of them let go of, {precision}; one alone", f"{found.one_again:.0f} MB",
            f"{found.one:.0f} MB", found.one / found.one_again, 1 / TIMES_LARGER,
        )  # fmt: skip


def measure(names: list[tuple[str, str]]) -> Megabytes:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "searchsite.settings")
    import django

    django.setup()
    import searchsite.urls  # noqa: F401  (brings what a web process has)
    from embeddings.encoders import registry
    from embeddings.models import Space

    megabytes = [private()]
    spaces = [
        Space(name=name, revision=revision, dimensions=DIMENSIONS) for name, revision in names
    ]
    for space in spaces:
        registry.load(space).encode_texts([TEXT])
        megabytes.append(private())
    registry.keep_only(spaces[1:])
    registry.load(spaces[1]).encode_texts([TEXT])
    megabytes.append(private())
    return Megabytes(*megabytes)


def private() -> float:
    return float(psutil.Process().memory_full_info().uss / 1e6)


if __name__ == "__main__":
    name, revision, other_name, other_revision = sys.argv[1:]
    found = measure([(name, revision), (other_name, other_revision)])
    sys.stdout.write(json.dumps(found) + "\n")
