"""What encoders of several sizes cost in each precision: a text and an image, on one thread.

    .venv/bin/python bench/shapes.py [--quick] [--json]

Full-size encoders with random weights, which compute as fast as trained ones; --quick takes the
smallest. The rival is the same file in float32; there are no floors. bench/encoders.py compares the
smallest with transformers.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from bench import _report as report
from bench._report import Row

BATCH = 8
RUNS_OF_TEXTS, RUNS_OF_IMAGES = 40, 8
WORDS = "two red boats at night"


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
    from embeddings.encoders import exports, sources
    from embeddings.encoders.cpu import CpuEncoder
    from embeddings.encoders.precisions import FLOAT32, IMAGE, INT8, TEXT, Precisions, faster

    report.tell(f"exporting {shape}")
    source = sources.find(str(folder))
    exact = CpuEncoder(source, cache, precisions=Precisions(), threads=1)
    parameters = exports.find(source, cache).parameters / 1e6
    about = f"{parameters:.0f} million parameters, {exact.dimensions} dimensions"
    size = (BATCH, 1, exact.framing.height, exact.framing.width, 3)
    frames = list(np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8))
    calibration = exact.calibrate(frames)
    plain = 0.0
    for precision in (FLOAT32, *faster(TEXT)):
        encoder = exact.with_precisions(Precisions(text=precision))
        seconds = _least(partial(encoder.encode_texts, [WORDS]), RUNS_OF_TEXTS)
        plain = plain or seconds
        yield _row(f"{shape}: a text, {precision}", seconds, plain, about)
    plain = 0.0
    for precision in (FLOAT32, *faster(IMAGE)):
        given = calibration if precision == INT8 else None
        encoder = exact.with_precisions(Precisions(image=precision, calibration=given))
        seconds = _least(partial(encoder.encode_frames, frames), RUNS_OF_IMAGES) / BATCH
        plain = plain or seconds
        yield _row(f"{shape}: an image, {precision}", seconds, plain, f"{1 / seconds:.1f} /s")


def _least(encode: Callable[[], object], runs: int) -> float:
    encode()
    return min(report.seconds_of(encode) for _ in range(runs))


def _row(what: str, seconds: float, plain: float, about: str) -> Row:
    ours, rival = f"{seconds * 1000:.1f} ms", f"{plain * 1000:.1f} ms"
    return Row(what, ours, rival, plain / seconds, 0, about)


if __name__ == "__main__":
    main()
