"""Rows of embedding: stored files to vectors, beside the plain loop and the bare encoder."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from bench import _report as report
from bench._report import Row

if TYPE_CHECKING:
    from embeddings.encoders.contract import Encoder
    from embeddings.encoders.framing import Frames
    from gallery.models import Image

LEAST_SHARE = 0.9  # of what the encoder does alone


@dataclass(frozen=True)
class Part:
    """Images of one size, and how often they are embedded."""

    name: str
    paths: list[Path]
    rounds: int
    rival_images: int = 0  # how many of them the rival is given a round: it is slow


def beside_the_loop(part: Part, loop: Callable[[Iterable[Path]], object], *, floor: float) -> Row:
    """Return images a second of both, in turn."""
    from django.conf import settings

    report.tell(f"embedding {part.name}, and the plain loop")
    stored = bring_in(part.paths)
    embed_again(stored)  # loads the encoder and starts the processes
    loop(part.paths[:2])
    ours, rival = [], []
    for _ in range(part.rounds):
        ours.append(len(stored) / embed_again(stored))
        seconds = report.seconds_of(lambda: loop(part.paths[: part.rival_images]))
        rival.append(part.rival_images / seconds)
    return Row(
        f"{part.name}: stored file to committed vector, {settings.ENCODER_PRECISION}",
        per_second(ours),
        per_second(rival),
        statistics.median(ours) / statistics.median(rival),
        floor,
        f"batches of {settings.ENCODER_BATCH}",
    )


def with_its_record(part: Part, loop: Callable[[Iterable[Path]], object]) -> Row:
    """Return the same of files that are not stored yet; only ours makes a record and thumbnails."""
    from gallery import pipeline

    report.tell(f"bringing in and embedding {part.name}")
    empty()
    some = part.paths[: part.rival_images]
    started = time.perf_counter()
    bring_in(part.paths)
    pipeline.embed_waiting()
    ours = len(part.paths) / (time.perf_counter() - started)
    rival = len(some) / report.seconds_of(lambda: loop(some))
    return Row(
        f"{part.name}: new file to record, thumbnails and vector",
        per_second([ours]),
        per_second([rival]),
        ours / rival,
        0,
    )


def beside_its_parts(part: Part) -> Iterator[Row]:
    """Yield the pipeline beside its encoder alone, and beside decoding and encoding in turn.

    An encoder that is always fed is the limit where decoding has cores of its own. Where both want
    the same cores, no order of work is quicker than all of it: decoding alone with every process,
    then encoding alone with every thread.
    """
    from embeddings.encoders import registry
    from gallery import spaces

    report.tell(f"embedding {part.name}; decoding alone, encoding alone")
    stored = bring_in(part.paths)
    encoder = registry.load(spaces.ensure())
    frames = decode(part.paths, encoder)
    embed_again(stored)
    encode(encoder, frames)
    ours, decoding, encoding = [], [], []
    for _ in range(part.rounds):
        ours.append(embed_again(stored))
        decoding.append(report.seconds_of(lambda: decode(part.paths, encoder)))
        encoding.append(report.seconds_of(lambda: encode(encoder, frames)))
    whole, decoded, encoded = (statistics.median(each) for each in (ours, decoding, encoding))

    def row(beside: str, rival: float, floor: float, limit: str = "") -> Row:
        mine, theirs = (per_second([len(stored) / seconds]) for seconds in (whole, rival))
        return Row(f"{part.name}: pipeline, {beside}", mine, theirs, rival / whole, floor, limit)

    if has_cores_for_both():
        yield row("encoder alone", encoded, LEAST_SHARE)
    else:
        yield row("encoder alone", encoded, 0, "no floor: decoding shares its cores")
    yield row("decoding, then encoding", decoded + encoded, LEAST_SHARE)


def has_cores_for_both() -> bool:
    """Return whether decoding processes and the encoder's threads each have a core."""
    from django.conf import settings

    from gallery.decoding import decoders

    cores = psutil.cpu_count(logical=False) or 1
    return cores >= decoders.processes() + (settings.ENCODER_THREADS or cores)


def decode(paths: list[Path], encoder: Encoder) -> list[Frames]:
    """Return what the encoder looks at, made as the pipeline makes it, with every process."""
    from gallery.decoding import decoders

    def frames(path: Path) -> Frames:
        with path.open("rb") as file:
            return decoders.frame_stored(file, encoder.framing)

    with ThreadPoolExecutor(decoders.processes() + 1) as pool:
        return list(pool.map(frames, paths))


def encode(encoder: Encoder, frames: list[Frames]) -> None:
    from django.conf import settings

    for start in range(0, len(frames), settings.ENCODER_BATCH):
        encoder.encode_frames(frames[start : start + settings.ENCODER_BATCH])


def bring_in(paths: list[Path]) -> list[Image]:
    """Return the images of files, added as an import adds them: several at once."""
    from django.contrib.auth.models import User
    from django.db import connections

    from gallery import spaces
    from gallery.decoding import decoders
    from gallery.ingest import NewImage, add_image

    spaces.ensure()
    owner, _ = User.objects.get_or_create(username="bench")

    def add(path: Path) -> Image:
        try:
            with path.open("rb") as file:
                return add_image(NewImage(file=file, owner=owner, original_name=path.name)).image
        finally:
            connections.close_all()

    with ThreadPoolExecutor(decoders.processes() + 1) as pool:
        return list(pool.map(add, paths))


def embed_again(images: list[Image]) -> float:
    """Return the seconds it takes to embed images that are stored, all anew."""
    from gallery import pipeline
    from gallery.models import Image

    pipeline.reembed(Image.objects.filter(pk__in=[image.pk for image in images]))
    started = time.perf_counter()
    written = pipeline.embed_waiting()
    assert written == len(images)
    return time.perf_counter() - started


def find_ranges(paths: list[Path]) -> None:
    """Do what `tune_encoder` does for images: int8 needs the ranges of the gallery's own."""
    from embeddings import tuning
    from embeddings.encoders import registry
    from embeddings.encoders.precisions import IMAGE
    from gallery import pipeline, spaces
    from gallery.tuning import drawing

    report.tell("comparing precisions")
    bring_in(paths)
    pipeline.embed_waiting()
    space = spaces.ensure()
    for proof in tuning.tune(space, drawing.draw(space, towers=[IMAGE]), towers=[IMAGE]):
        report.tell(f"{proof.precision}: cosine {proof.cosine_mean:.4f}")
    registry.keep_only([])  # what is loaded next has them
    empty()


def empty() -> None:
    from gallery.models import Image
    from gallery.removal import delete_images

    delete_images(Image.objects.all())


def per_second(figures: list[float]) -> str:
    return f"{statistics.median(figures):,.1f} /s"
