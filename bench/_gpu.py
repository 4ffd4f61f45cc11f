"""Rows of an encoder on a GPU: its model alone, files to vectors, and where the time goes."""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench import _report as report
from bench._report import Row

if TYPE_CHECKING:
    from embeddings.encoders.framing import Frames
    from embeddings.encoders.huggingface import TorchEncoder
    from embeddings.encoders.sources import Source

EDGE = 224
MODEL_SHARE = 0.4  # of the matrix rate
LOOP_TIMES = 10.0
DECODED_SHARE = 0.9  # of what decoding alone gives: nothing else holds it up
LEAST_COSINE = 0.999


@dataclass(frozen=True)
class Work:
    """What is measured: `flops` are those of one image."""

    source: Source
    paths: Sequence[Path]
    flops: float
    frames: int = 8192
    rival_images: int = 128
    rounds: int = 5


def rows(work: Work) -> Iterator[Row]:
    from embeddings.encoders.huggingface import TorchEncoder

    encoder = TorchEncoder(work.source, device="cuda", precision="bfloat16")
    yield of_cosine(encoder, work)
    yield from of_the_model(encoder, work)
    yield from of_files(encoder, work)


def of_cosine(encoder: TorchEncoder, work: Work) -> Row:
    from embeddings.encoders.huggingface import TorchEncoder

    reference = TorchEncoder(work.source, device="cuda", precision="float32")
    frames = some_frames(32)
    ours, theirs = encoder.encode_frames(frames), reference.encode_frames(frames)
    least = float((ours * theirs).sum(axis=1).min())
    return report.at_least("image model, bfloat16: cosine to float32", least, LEAST_COSINE)


def of_the_model(encoder: TorchEncoder, work: Work) -> Iterator[Row]:
    """Yield the model alone as a share of a matrix product's rate, compiled and fed by one call."""
    report.tell("the model alone")
    frames = some_frames(work.frames)
    encoder.encode_frames(frames)  # compiles
    seconds = median(work.rounds, partial(encoder.encode_frames, frames))
    rate, most = work.frames / seconds, matrix_rate()
    yield report.at_least(
        f"image model, bfloat16, {rate:,.0f} images/s: share of {most / 1e12:,.0f} TFLOP/s",
        rate * work.flops / most,
        MODEL_SHARE,
    )


def of_files(encoder: TorchEncoder, work: Work) -> Iterator[Row]:
    """Yield JPEG files to vectors beside the plain loop, beside decoding alone, and its parts."""
    from bench._plain_loop import PlainLoop

    report.tell("files, and the plain loop on the same device")
    loop = PlainLoop(work.source.folder, device="cuda")
    some = work.paths[: work.rival_images]
    loop.vectors(some[:2])
    from_files(encoder, work.paths)
    ours, plain, decoding = [], [], []
    for _ in range(work.rounds):
        ours.append(report.seconds_of(partial(from_files, encoder, work.paths)) / len(work.paths))
        plain.append(report.seconds_of(partial(loop.vectors, some)) / len(some))
        decoding.append(report.seconds_of(partial(decode, encoder, work.paths)) / len(work.paths))
    each, rival, alone = (statistics.median(times) for times in (ours, plain, decoding))
    what = "JPEG 640x480 to vector, bfloat16"
    yield Row(
        what, per_second(each), per_second(rival), rival / each, LOOP_TIMES, where(encoder, alone)
    )
    yield Row(f"{what}: beside decoding alone", per_second(each), per_second(alone),
              alone / each, DECODED_SHARE)  # fmt: skip


def where(encoder: TorchEncoder, decoding: float) -> str:
    """Say where the time of one image goes, each step alone."""
    import torch

    frames = np.concatenate(some_frames(1024))
    copying = (
        median(5, lambda: torch.from_numpy(frames).pin_memory().to("cuda").sum().item()) / 1024
    )
    model = median(5, partial(encoder.encode_frames, some_frames(1024))) / 1024
    parts = {"decode": decoding, "copy": copying, "model with copy": model}
    return ", ".join(f"{name} {seconds * 1e6:,.0f} µs" for name, seconds in parts.items())


def from_files(encoder: TorchEncoder, paths: Sequence[Path], at_once: int = 256) -> None:
    """Decode with every core; encode what is there in another thread."""
    from bench.encoders import framed

    with ThreadPoolExecutor(os.cpu_count()) as decoding, ThreadPoolExecutor(1) as encoding:
        frames = [decoding.submit(framed, encoder, path) for path in paths]
        waiting = []
        for start in range(0, len(frames), at_once):
            batch = [one.result() for one in frames[start : start + at_once]]
            waiting.append(encoding.submit(encoder.encode_frames, batch))
        for one in waiting:
            one.result()


def decode(encoder: TorchEncoder, paths: Sequence[Path]) -> None:
    from bench.encoders import framed

    with ThreadPoolExecutor(os.cpu_count()) as decoding:
        list(decoding.map(partial(framed, encoder), paths))


def some_frames(n: int) -> list[Frames]:
    random = np.random.default_rng(0)
    return list(random.integers(0, 256, (n, 1, EDGE, EDGE, 3), dtype=np.uint8))


def matrix_rate() -> float:
    """Return the floating-point operations a second of a large product in bfloat16, best of ten."""
    import torch

    n, times = 8192, 20
    one = torch.randn(n, n, dtype=torch.bfloat16, device="cuda")

    def multiply() -> None:
        for _ in range(times):
            one @ one
        torch.cuda.synchronize()

    multiply()
    return 2 * n**3 * times / min(report.seconds_of(multiply) for _ in range(10))


def median(rounds: int, way: object) -> float:
    assert callable(way)
    return statistics.median(report.seconds_of(way) for _ in range(rounds))


def per_second(seconds: float) -> str:
    return f"{1 / seconds:,.0f} /s"
