"""Rows of embedding: stored files to vectors, beside the plain loop and the bare encoder."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench import _report as report
from bench._report import Row

if TYPE_CHECKING:
    from PIL.Image import Image as Pixels

    from embeddings.encoders.contract import Encoder
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
        f"{part.name}: stored file to committed vector",
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


def share_of_encoder(part: Part) -> Row:
    """Return the pipeline's images a second as a share of the encoder's own, in turn."""
    from django.conf import settings

    from embeddings.encoders import registry
    from gallery import spaces

    report.tell(f"embedding {part.name}, and the encoder alone")
    stored = bring_in(part.paths)
    encoder = registry.load(spaces.ensure())
    pixels = decoded(part.paths, encoder)
    embed_again(stored)
    encode(encoder, pixels, settings.ENCODER_BATCH)
    ours, alone = [], []
    for _ in range(part.rounds):
        ours.append(len(stored) / embed_again(stored))
        seconds = report.seconds_of(lambda: encode(encoder, pixels, settings.ENCODER_BATCH))
        alone.append(len(pixels) / seconds)
    share = statistics.median(ours) / statistics.median(alone)
    return Row(
        f"{part.name}: pipeline, encoder alone",
        per_second(ours),
        per_second(alone),
        share,
        LEAST_SHARE,
    )


def decoded(paths: list[Path], encoder: Encoder) -> list[Pixels]:
    from gallery import inspection

    pixels = []
    for path in paths:
        with path.open("rb") as file:
            pixels.append(inspection.open_for_encoder(file, encoder.framing.edge))
    return pixels


def encode(encoder: Encoder, pixels: list[Pixels], at_once: int) -> None:
    for start in range(0, len(pixels), at_once):
        encoder.encode_images(pixels[start : start + at_once])


def bring_in(paths: list[Path]) -> list[Image]:
    """Return the images of files, added as an import adds them: several at once."""
    from concurrent.futures import ThreadPoolExecutor

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


def empty() -> None:
    from gallery.models import Image
    from gallery.removal import delete_images

    delete_images(Image.objects.all())


def per_second(figures: list[float]) -> str:
    return f"{statistics.median(figures):,.1f} /s"
