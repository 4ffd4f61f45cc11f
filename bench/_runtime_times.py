"""What a runtime takes for a tower, in a process of its own: processors are told before it starts.

    .venv/bin/python -m bench._runtime_times RUNTIME FILE PRECISION THREADS RUNS

Prints the least milliseconds of a text of eight tokens, or of an image in a batch of 16; or why it
cannot be run.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench import _report as report
from embeddings.encoders.layout import PIXELS, TEXT_FILE
from embeddings.encoders.tokens import IDS, MASK
from embeddings.encoders.towers import OnnxTower, OpenVinoTower, Tower
from embeddings.errors import EmbeddingsError

BATCH, EDGE, TOKENS = 16, 224, 8


def main(runtime: str, file: Path, precision: str, threads: int, runs: int) -> None:
    try:
        given = _texts() if file.name == TEXT_FILE else _images()
        tower = _opened(runtime, file, precision, threads)
        encode = partial(tower.features, given)
        encode()
    except EmbeddingsError as error:
        json.dump({"failure": str(error)[:200]}, sys.stdout)
        return
    seconds = min(report.seconds_of(encode) for _ in range(runs))
    of_one = len(next(iter(given.values())))
    json.dump({"milliseconds": seconds * 1000 / of_one}, sys.stdout)


def _opened(runtime: str, file: Path, precision: str, threads: int) -> Tower:
    if runtime == "ONNX Runtime":
        return OnnxTower(file, threads=threads)
    return OpenVinoTower(file, precision=precision, threads=threads)


def _texts() -> dict[str, Any]:
    ids = np.full((1, TOKENS), 5, np.int64)
    return {IDS: ids, MASK: np.ones_like(ids)}


def _images() -> dict[str, Any]:
    size = (BATCH, EDGE, EDGE, 3)
    return {PIXELS: np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)}


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
