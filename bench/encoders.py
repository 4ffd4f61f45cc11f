"""Texts and images to vectors, beside transformers as every tutorial uses it.

    .venv/bin/python bench/encoders.py [--quick] [--json] [--device cuda]

A full-size ViT-B/32 with random weights, which computes as fast as a trained one. The rival is
CLIPModel in float32 with texts padded to 77 tokens and one image at a time. Both have one thread,
then two. Vectors are compared with the rival's: what is faster and says otherwise does not count.
With `--device cuda` both run on a GPU (bench/_gpu.py).
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from bench import _pictures
from bench import _report as report
from bench._report import Row

if TYPE_CHECKING:
    from embeddings.encoders.contract import Encoder
    from embeddings.encoders.cpu import CpuEncoder
    from embeddings.encoders.framing import Frames
    from embeddings.encoders.precisions import Precisions
    from embeddings.encoders.sources import Source
    from embeddings.vectors import Vectors

ROOT = Path(__file__).resolve().parent.parent
BATCH = 32
TOKENS = 8
TEXT_TOWER_WEIGHTS = 12 * (4 * 512**2 + 2 * 512 * 2048)  # that every text is put through
IMAGE_FLOPS = 8.8e9  # of ViT-B/32 for one image
CLIP_MEAN, CLIP_SPREAD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
TEXTS = ("two red boats at night", "a house by the sea", "a yellow moon and a tree", "snow")


@dataclass(frozen=True)
class Size:
    texts: int
    batches: int
    rival_images: int
    rounds: int
    files: int  # of 640 x 480; a quarter of 4000 x 3000


@dataclass(frozen=True)
class Files:
    what: str
    paths: list[Path]


FULL, QUICK = Size(60, 8, 16, 3, 192), Size(12, 2, 4, 1, 48)


def main() -> None:
    given = report.options(__doc__ or "", devices=("cpu", "cuda"))
    size = QUICK if given.is_quick else FULL
    if given.device == "cuda":
        report.show(rows_of_gpu(size), given)
    os.environ["OMP_NUM_THREADS"] = "1"
    report.show(rows(size), given)


def rows_of_gpu(size: Size) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        report.tell("writing an encoder and files")
        from bench import _encoder, _gpu
        from embeddings.encoders import sources

        _encoder.write(folder / "encoder")
        paths = _pictures.write(folder / "small", 16 * size.files, (640, 480))
        yield from _gpu.rows(
            _gpu.Work(sources.find(str(folder / "encoder")), paths, flops=IMAGE_FLOPS)
        )


def rows(size: Size) -> Iterator[Row]:
    from django.conf import settings

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings.configure(ENCODER_CACHE_DIR=str(folder / "cache"))
        report.tell("writing an encoder and files")
        from bench import _encoder
        from embeddings.encoders import sources
        from embeddings.encoders.precisions import Precisions

        _encoder.write(folder / "encoder")
        source = sources.find(str(folder / "encoder"))
        small = _pictures.write(folder / "small", size.files, (640, 480))
        large = _pictures.write(folder / "large", size.files // 4, (4000, 3000))
        report.tell("exporting it")
        export_seconds = report.seconds_of(partial(opened, source, Precisions(), threads=1))
        yield report.at_most("export, the first time", export_seconds, 120, "s")
        for threads in (1, 2):
            yield from of_texts(source, size, threads)
            yield from of_images(source, small, size, threads)
        _, bfloat16, int8 = (precisions for precisions, *_ in ways_with_images(source, small))
        for files, floor in ((Files("640x480", small), 9.0), (Files("4000x3000", large), 13.0)):
            yield of_files(files, source, size, bfloat16)
            yield of_files(files, source, size, int8, floor=floor)
        yield from of_a_start(source)


def of_texts(source: Source, size: Size, threads: int) -> Iterator[Row]:
    from embeddings.encoders.precisions import INT8, Precisions

    rival = Rival(source.folder, threads)
    for precisions, floor, least_cosine, width in (
        (Precisions(), 4.0, 0.99999, 4), (Precisions(text=INT8), 15.0, 0.999, 1),
    ):  # fmt: skip
        report.tell(f"texts, {precisions.text}, {threads} threads")
        encoder = opened(source, precisions, threads=threads)
        ours, theirs = [encoder.encode_texts([text])[0] for text in TEXTS], rival.texts(TEXTS)
        what = f"text query, {precisions.text}, {threads} threads"
        yield report.at_least(f"{what}: cosine", cosine(np.stack(ours), theirs), least_cosine)
        pair = report.medians(
            partial(encoder.encode_texts, TEXTS[:1]),
            partial(rival.texts, TEXTS[:1]),
            runs=size.texts,
        )
        limit = report.of_bandwidth(TEXT_TOWER_WEIGHTS * width, pair.ours)
        yield report.faster(what, pair, floor=floor if threads == 1 else 0, limit=limit)


def of_images(source: Source, paths: list[Path], size: Size, threads: int) -> Iterator[Row]:
    rival = Rival(source.folder, threads)
    for precisions, floor, least_cosine in ways_with_images(source, paths):
        report.tell(f"images, {precisions.image}, {threads} threads")
        encoder = opened(source, precisions, threads=threads)
        frames = [framed(encoder, path) for path in paths[:BATCH]]
        what = f"image model, {precisions.image}, {threads} threads"
        theirs = rival.frames(frames[:4])
        yield report.at_least(
            f"{what}: cosine", cosine(encoder.encode_frames(frames)[:4], theirs), least_cosine
        )
        ours, plain = [], []
        for _ in range(size.rounds):
            seconds = report.seconds_of(partial(again, encoder, frames, size.batches))
            ours.append(seconds / size.batches / BATCH)
            alone = frames[: min(size.rival_images, BATCH)]
            plain.append(report.seconds_of(partial(rival.frames, alone)) / len(alone))
        pair = report.Pair(statistics.median(ours), statistics.median(plain))
        share = IMAGE_FLOPS / pair.ours / matrix_rate(precisions.image, threads)
        limit = f"{share:.0%} of the matrix rate in {precisions.image}"
        yield report.faster(what, pair, floor=floor if threads == 1 else 0, limit=limit)


def ways_with_images(source: Source, paths: list[Path]) -> list[tuple[Precisions, float, float]]:
    """Return precisions, how many times faster each must be, and at which cosine."""
    from embeddings.encoders.precisions import BFLOAT16, INT8, Precisions

    encoder = opened(source, Precisions(), threads=1)
    others = [framed(encoder, path) for path in paths[BATCH:]]  # than those it is compared on
    calibrated = Precisions(image=INT8, calibration=encoder.calibrate(others))
    return [
        (Precisions(), 0.0, 0.99999),
        (Precisions(image=BFLOAT16), 8.0, 0.999),
        (calibrated, 12.0, 0.999),
    ]


def of_files(
    files: Files, source: Source, size: Size, precisions: Precisions, *, floor: float = 0.0
) -> Row:
    """Return the row of JPEG files to vectors, two threads on both sides."""
    from bench._plain_loop import PlainLoop

    report.tell(f"files of {files.what}, {precisions.image}")
    paths = files.paths
    encoder = opened(source, precisions, threads=2)  # as a worker has it
    loop = PlainLoop(source.folder)
    set_threads(2)
    loop.vectors(paths[:1])
    from_files(encoder, paths[:BATCH])
    ours, plain = [], []
    for _ in range(size.rounds):
        ours.append(report.seconds_of(partial(from_files, encoder, paths)) / len(paths))
        some = paths[: size.rival_images]
        plain.append(report.seconds_of(partial(loop.vectors, some)) / len(some))
    pair = report.Pair(statistics.median(ours), statistics.median(plain))
    limit = f"{1 / pair.ours:.1f} /s; {1 / pair.rival:.1f} /s"
    what = f"JPEG {files.what} to vector, {precisions.image}, 2 threads"
    return report.faster(what, pair, floor=floor, limit=limit)


def of_a_start(source: Source) -> Iterator[Row]:
    from django.conf import settings

    report.tell("starts")
    cache = settings.ENCODER_CACHE_DIR
    found: dict[str, list[dict[str, float]]] = {"ours": [], "int8": [], "rival": []}
    for _ in range(3):
        for who, said in found.items():
            command = (sys.executable, "-m", "bench._first_text", who, source.folder, cache)
            done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
            said.append(json.loads(done.stdout))
    seconds, megabytes = (
        {who: statistics.median(one[name] for one in said) for who, said in found.items()}
        for name in ("seconds", "megabytes")
    )
    for who, precision in (("ours", "float32"), ("int8", "int8")):
        yield Row(
            f"start of a process to its first text, {precision}", f"{seconds[who]:.2f} s",
            f"{seconds['rival']:.2f} s", 1.0 / seconds[who], 1.0, "floor: 1 s",
        )  # fmt: skip
    yield Row(
        "its memory, float32", f"{megabytes['ours']:.0f} MB", f"{megabytes['rival']:.0f} MB",
        megabytes["rival"] / megabytes["ours"], 0,
    )  # fmt: skip
    yield report.at_most("its memory, int8", megabytes["int8"], 400, "MB")


class Rival:
    """transformers in float32: texts padded to 77, images one by one."""

    def __init__(self, folder: Path, threads: int) -> None:
        from transformers import AutoTokenizer, CLIPModel

        set_threads(threads)
        self._model = CLIPModel.from_pretrained(folder).eval()
        self._tokenizer = AutoTokenizer.from_pretrained(folder)

    def texts(self, texts: tuple[str, ...]) -> Vectors:
        import torch

        tokens = self._tokenizer(
            list(texts), padding="max_length", max_length=77, return_tensors="pt"
        )
        with torch.no_grad():
            return as_vectors(self._model.get_text_features(**tokens))

    def frames(self, frames: list[Frames]) -> Vectors:
        import torch

        mean, std = (torch.tensor(values) for values in (CLIP_MEAN, CLIP_SPREAD))
        found = []
        for frame in frames:
            pixels = ((torch.from_numpy(frame).float() / 255 - mean) / std).permute(0, 3, 1, 2)
            with torch.no_grad():
                found.append(as_vectors(self._model.get_image_features(pixel_values=pixels)))
        return np.concatenate(found)


def as_vectors(features: object) -> Vectors:
    from embeddings.vectors import normalise

    return normalise(getattr(features, "pooler_output", features).numpy())  # type: ignore[attr-defined]  # a tensor in either case


def opened(source: Source, precisions: Precisions, *, threads: int) -> CpuEncoder:
    from django.conf import settings

    from embeddings.encoders.cpu import CpuEncoder

    cache = Path(settings.ENCODER_CACHE_DIR)
    encoder = CpuEncoder(source, cache, precisions=precisions, threads=threads)
    encoder.prepare()
    return encoder


def again(encoder: CpuEncoder, frames: list[Frames], times: int) -> None:
    for _ in range(times):
        encoder.encode_frames(frames)


def from_files(encoder: CpuEncoder, paths: list[Path]) -> None:
    """Decode in two threads, encode in a third: what the pipeline does, without its database."""
    with ThreadPoolExecutor(2) as decoding, ThreadPoolExecutor(1) as encoding:
        frames = decoding.map(lambda path: framed(encoder, path), paths)
        batches = iter(lambda: [one for _, one in zip(range(BATCH), frames, strict=False)], [])
        for done in [encoding.submit(encoder.encode_frames, batch) for batch in batches]:
            done.result()


def framed(encoder: Encoder, path: Path) -> Frames:
    from PIL import Image as Pixels

    with Pixels.open(path) as image:
        image.draft("RGB", (encoder.framing.edge, encoder.framing.edge))
        return encoder.framing.frames(image.convert("RGB"))


def cosine(ours: Vectors, theirs: Vectors) -> float:
    return float((ours * theirs).sum(axis=1).min())


def set_threads(n: int) -> None:
    import torch

    torch.set_num_threads(n)


def matrix_rate(precision: str, threads: int) -> float:
    """Return the operations a second of a large matrix product, best of five."""
    import torch

    set_threads(threads)
    n = 2048
    one = torch.ones(n, n, dtype=getattr(torch, precision))
    multiply = torch._int_mm if precision == "int8" else torch.mm
    return 2 * n**3 / min(report.seconds_of(lambda: multiply(one, one)) for _ in range(5))


if __name__ == "__main__":
    main()
