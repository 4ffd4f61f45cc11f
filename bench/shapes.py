"""What encoders of several sizes cost: a text and an image, on one thread of the CPU.

    .venv/bin/python bench/shapes.py [--quick] [--json]

Full-size encoders with random weights, which compute as fast as trained ones; --quick takes the
smallest. The rival is the same file in float32; there are no floors. bench/encoders.py compares the
smallest with transformers.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from bench import _report as report
from bench._report import Row

BATCH = 8
RUNS_OF_TEXTS, RUNS_OF_IMAGES = 40, 8
TEXT = "two red boats at night"


def main() -> None:
    given = report.options(__doc__ or "")
    os.environ["OMP_NUM_THREADS"] = "1"
    report.show(rows(is_quick=given.is_quick), given)


def rows(*, is_quick: bool) -> Iterator[Row]:
    from django.conf import settings

    from bench import _encoder

    shapes = [_encoder.VIT_B_32] if is_quick else list(_encoder.SHAPES)
    for shape in shapes:
        with tempfile.TemporaryDirectory() as name:
            if not settings.configured:
                settings.configure()
            settings.ENCODER_CACHE_DIR = str(Path(name) / "cache")
            report.tell(f"writing {shape}")
            _encoder.write(Path(name) / "encoder", shape)
            yield from of_shape(shape, Path(name) / "encoder", Path(name) / "cache")


def of_shape(shape: str, folder: Path, cache: Path) -> Iterator[Row]:
    from tokenizers import Tokenizer

    from embeddings.encoders import exports, sources
    from embeddings.encoders.layout import IMAGE_FILE, PIXELS, TEXT_FILE, TOKENIZER_FILE
    from embeddings.encoders.tokens import Tokens
    from embeddings.encoders.towers import OnnxTower, OpenVinoTower

    report.tell(f"exporting {shape}")
    export = exports.find(sources.find(str(folder)), cache)
    tokenizer = Tokenizer.from_file(str(export.file(TOKENIZER_FILE)))
    arrays = Tokens(tokenizer, export.text_options).arrays([TEXT])
    text = partial(OnnxTower(export.file(TEXT_FILE)).features, arrays)
    text()
    seconds = min(report.seconds_of(text) for _ in range(RUNS_OF_TEXTS))
    parameters = f"{export.parameters / 1e6:.0f} million parameters, {export.dimensions} dimensions"
    yield Row(f"{shape}: a text, float32", f"{seconds * 1000:.1f} ms", "", 1, 0, parameters)
    size = (BATCH, export.framing.height, export.framing.width, 3)
    frames = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    plain = 0.0
    for precision in ("f32", "bf16"):
        tower = OpenVinoTower(export.file(IMAGE_FILE), precision=precision, threads=1)
        encode = partial(tower.features, {PIXELS: frames})
        encode()
        one = min(report.seconds_of(encode) for _ in range(RUNS_OF_IMAGES)) / BATCH
        plain = plain or one
        yield Row(
            f"{shape}: an image, {'float32' if precision == 'f32' else 'bfloat16'}",
            f"{one * 1000:.1f} ms", f"{plain * 1000:.1f} ms", plain / one, 0, f"{1 / one:.1f} /s",
        )  # fmt: skip


if __name__ == "__main__":
    main()
