"""From files to committed vectors, beside the loop that every tutorial shows.

    .venv/bin/python bench/ingest.py [--quick] [--json]

JPEGs of 640 x 480 and 4000 x 3000 (bench/_pictures.py), a full-size ViT-B/32 with random weights,
an embedded Postgres of its own. The rival is PIL, CLIPImageProcessor and CLIPModel in float32, one
image at a time (bench/_plain_loop.py). Both have two threads. The pipeline is also held to what its
encoder does alone, or, where decoding shares the encoder's cores, to decoding and encoding in turn;
and writing vectors to Django's bulk_create.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench import _embedding, _folder, _library, _pictures, _vector_writes
from bench import _report as report
from bench._embedding import Part
from bench._report import Row

THREADS = 2
SMALL, LARGE = (640, 480), (4000, 3000)
SMALL_FLOOR, LARGE_FLOOR = 5.0, 8.0  # in bfloat16
SMALL_FLOOR_INT8, LARGE_FLOOR_INT8 = 8.0, 12.0


@dataclass(frozen=True)
class Size:
    small: int  # images of 640 x 480
    large: int
    rival: int  # images of a round of the rival
    rounds: int
    drawn: int  # images for the bundled encoder
    vectors: int
    folder: int  # small images that are imported twice


FULL = Size(320, 64, 40, 5, 960, 20_000, 100_000)
QUICK = Size(96, 32, 8, 2, 320, 5_000, 1_000)


def main() -> None:
    given = report.options(__doc__ or "")
    size = QUICK if given.is_quick else FULL
    os.environ["OMP_NUM_THREADS"] = str(THREADS)
    report.show(rows(size), given)


def rows(size: Size) -> Iterator[Row]:
    with _library.servers() as folder:
        yield from of_a_real_encoder(folder, size)
        yield from of_the_bundled_encoder(folder, size)
        yield _vector_writes.row(size.vectors, at_once=1000, rounds=size.rounds)


def of_a_real_encoder(folder: Path, size: Size) -> Iterator[Row]:
    from django.test import override_settings

    from bench import _encoder
    from bench._plain_loop import PlainLoop

    report.tell("writing an encoder and files")
    encoder = folder / "encoder"
    _encoder.write(encoder)
    small = _pictures.write(folder / "small", size.small, SMALL)
    large = _pictures.write(folder / "large", size.large, LARGE)
    loop = PlainLoop(encoder).vectors
    of_small = Part("640x480", small, size.rounds, size.rival)
    of_large = Part("4000x3000", large, size.rounds, size.rival)
    with override_settings(ENCODER=str(encoder), ENCODER_PRECISION="bfloat16"):
        for part, floor in ((of_small, SMALL_FLOOR), (of_large, LARGE_FLOOR)):
            yield _embedding.beside_the_loop(part, loop, floor=floor)
            yield from _embedding.beside_its_parts(part)
            yield _embedding.with_its_record(part, loop)
            _embedding.empty()
        _embedding.find_ranges(small)
    with override_settings(ENCODER=str(encoder), ENCODER_PRECISION="int8"):
        for part, floor in ((of_small, SMALL_FLOOR_INT8), (of_large, LARGE_FLOOR_INT8)):
            yield _embedding.beside_the_loop(part, loop, floor=floor)
            _embedding.empty()


def of_the_bundled_encoder(folder: Path, size: Size) -> Iterator[Row]:
    from django.test import override_settings

    _library.empty()
    paths = _pictures.write(folder / "drawn", size.drawn, (256, 192))
    with override_settings(ENCODER="bundled"):
        yield from _embedding.beside_its_parts(Part("256x192, bundled", paths, size.rounds))
        _embedding.empty()
        yield from _folder.rows(folder / "many", size.folder)


if __name__ == "__main__":
    main()
