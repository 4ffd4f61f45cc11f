"""Which runtime of the CPU is quicker at which tower, on one thread and on two.

    .venv/bin/python bench/runtimes.py [--quick] [--json]

A full-size ViT-B/32 with random weights. Ours is the runtime that has been given the tower, the
rival the other one with the same file. The last rows are of a processor without AVX-512 and AMX,
which OpenVINO can be told to do without; ONNX Runtime cannot. There are no floors: the figures are
the reason of docs/decisions/0012.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from bench import _report as report
from bench._report import Row

ROOT = Path(__file__).resolve().parent.parent
ONNX_RUNTIME, OPENVINO = "ONNX Runtime", "OpenVINO"
WITHOUT = {"ONEDNN_MAX_CPU_ISA": "AVX2"}  # what OpenVINO's kernels may use of the processor
RUNS_OF_TEXTS, RUNS_OF_IMAGES = 60, 6


@dataclass(frozen=True)
class Job:
    """A tower's file, and how each runtime is to compute it."""

    what: str
    file: Path
    rivals_file: Path  # of images in bfloat16, which ONNX Runtime does not have, that in float32
    precision: str = "f32"

    @property
    def is_text(self) -> bool:
        return self.what.startswith("a text")


def main() -> None:
    given = report.options(__doc__ or "")
    with tempfile.TemporaryDirectory() as name:
        report.show(rows(Path(name), is_quick=given.is_quick), given)


def rows(folder: Path, *, is_quick: bool) -> Iterator[Row]:
    jobs = made(folder)
    for threads in (1, 2):
        for job in jobs:
            yield row(job, threads, {}, is_quick=is_quick)
    for job in jobs:
        yield row(job, 1, WITHOUT, is_quick=is_quick)


def made(folder: Path) -> list[Job]:
    from django.conf import settings

    from bench import _encoder
    from embeddings.encoders import exports, sources, variants
    from embeddings.encoders.layout import IMAGE_FILE, TEXT_FILE
    from embeddings.encoders.precisions import IMAGE, INT8, TEXT, Precisions

    cache = folder / "cache"
    settings.configure(ENCODER_CACHE_DIR=str(cache))
    report.tell("exporting")
    _encoder.write(folder / "encoder")
    export = exports.find(sources.find(str(folder / "encoder")), cache)
    size = (16, export.framing.height, export.framing.width, 3)
    frames = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    calibration = variants.calibrate(export, frames)
    in_int8 = Precisions(text=INT8, image=INT8, calibration=calibration)
    text, image = export.file(TEXT_FILE), export.file(IMAGE_FILE)
    text_in_int8 = variants.file(export, TEXT, in_int8)
    image_in_int8 = variants.file(export, IMAGE, in_int8)
    return [
        Job("a text, float32", text, text),
        Job("a text, int8", text_in_int8, text_in_int8),
        Job("an image, float32", image, image),
        Job("an image, bfloat16; the rival float32", image, image, "bf16"),
        Job("an image, int8", image_in_int8, image_in_int8),
    ]


def row(job: Job, threads: int, environment: dict[str, str], *, is_quick: bool) -> Row:
    ours, others = (ONNX_RUNTIME, OPENVINO) if job.is_text else (OPENVINO, ONNX_RUNTIME)
    runs = RUNS_OF_TEXTS if job.is_text else RUNS_OF_IMAGES
    found = [
        measured(
            runtime, file, job.precision, (threads, runs // (3 if is_quick else 1)), environment
        )
        for runtime, file in ((ours, job.file), (others, job.rivals_file))
    ]
    of_threads = f"{threads} thread{'s' if threads > 1 else ''}"
    without = ", without AVX-512 and AMX" if environment else ""
    ratio = found[1] / found[0] if all(found) else 0.0
    shown = [f"{ms:.1f} ms" if ms else "cannot" for ms in found]
    what = f"{job.what}, {of_threads}{without}: {ours}; {others}"
    return Row(what, shown[0], shown[1], ratio, 0)


def measured(
    runtime: str, file: Path, precision: str, size: tuple[int, int], environment: dict[str, str]
) -> float:
    """Return milliseconds; 0 where the runtime cannot run the file."""
    report.tell(f"{runtime}: {file.parent.name[-40:]}/{file.name}")
    command = (
        sys.executable, "-m", "bench._runtime_times", runtime, str(file), precision,
        *map(str, size),
    )  # fmt: skip
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, check=True, env=os.environ | environment
    )
    said = json.loads(done.stdout)
    if "failure" in said:
        report.tell(said["failure"])
    return float(said.get("milliseconds", 0.0))


if __name__ == "__main__":
    main()
