"""The worker's part: claim a batch, decode, encode, write the vectors.

Every step may be repeated. The job rows say what is left to do, whoever died in between.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from PIL.Image import Image as Pixels

from embeddings import jobs
from embeddings.encoders import registry
from embeddings.encoders.contract import Encoder
from embeddings.errors import EncoderUnavailable, VectorInvalid
from embeddings.jobs import Lease, Queue
from embeddings.models import Space
from embeddings.vectors import Vectors
from gallery import inspection, spaces
from gallery.errors import ImageRefused
from gallery.models import Image, ImageEmbedding, ImageEmbeddingJob, State

log = logging.getLogger(__name__)

QUEUE = Queue(ImageEmbeddingJob, ImageEmbedding)


@dataclass(frozen=True)
class Decoded:
    """Images of a lease that could be decoded, and their primary keys."""

    ids: list[int]
    pixels: list[Pixels]


def embed_waiting(goes_on: Callable[[], bool] = lambda: True) -> int:
    """Embed until no job is due, or told to end between two batches. Return how many vectors.

    Raise EncoderUnavailable at the end if a space's encoder cannot be loaded: no image is at
    fault, its jobs go back, and the other spaces are served all the same.
    """
    written = 0
    unavailable: dict[int, EncoderUnavailable] = {}
    while goes_on() and (lease := next_lease(without=unavailable)) is not None:
        try:
            written += embed(lease, registry.load(lease.space))
        except EncoderUnavailable as error:
            QUEUE.give_back(lease)
            unavailable[lease.space.pk] = error
    if unavailable:
        raise next(iter(unavailable.values()))
    return written


def next_lease(*, without: Container[int] = ()) -> Lease | None:
    """Claim the next batch. Asked anew after each: a new upload goes before an old refill."""
    for space in spaces.current():
        if space.pk not in without:
            lease = QUEUE.claim(space, settings.ENCODER_BATCH)
            if lease is not None:
                return lease
    return None


def is_due() -> bool:
    """Whether any image could be embedded now."""
    return any(QUEUE.is_due(space) for space in spaces.current())


def embed(lease: Lease, encoder: Encoder) -> int:
    """Write the vectors of a lease; what cannot be decoded is parked with its reason."""
    decoded = decode(lease, encoder.image_edge)
    if not decoded.ids:
        return 0
    QUEUE.extend(lease)
    try:
        vectors = encoder.encode_images(decoded.pixels)
        return finish(lease, decoded.ids, vectors)
    except (VectorInvalid, RuntimeError, ValueError) as error:
        # One of them breaks the encoder. Each comes back alone, and the guilty one is parked.
        log.exception("A batch of %d images could not be encoded.", len(decoded.ids))
        for image_id in decoded.ids:
            fail(lease, image_id, f"The encoder failed: {error}")
        return 0


def decode(lease: Lease, edge: int) -> Decoded:
    decoded = Decoded([], [])
    for image in Image.objects.filter(pk__in=lease.subjects).only("pk", "file").order_by("pk"):
        try:
            with image.file.open("rb") as file:
                pixels = inspection.open_for_encoder(file, edge)
        except ImageRefused as refused:
            fail(lease, image.pk, str(refused), is_final=True)
        except OSError as error:
            # The storage may be back soon.
            fail(lease, image.pk, f"The stored file cannot be read: {error}")
        else:
            decoded.ids.append(image.pk)
            decoded.pixels.append(pixels)
    return decoded


@transaction.atomic
def finish(lease: Lease, ids: list[int], vectors: Vectors) -> int:
    done = QUEUE.finish(lease, ids, vectors)
    if is_active(lease.space):
        Image.objects.filter(pk__in=done).update(state=State.READY, failure="")
    return len(done)


@transaction.atomic
def fail(lease: Lease, image_id: int, reason: str, *, is_final: bool = False) -> None:
    lock([image_id])
    if QUEUE.fail(lease, image_id, reason, is_final=is_final) and is_active(lease.space):
        log.warning("Image %d is parked: %s", image_id, reason)
        Image.objects.filter(pk=image_id).update(state=State.FAILED, failure=reason)


@transaction.atomic
def park_lost() -> int:
    """Park images that killed their worker each time. Return how many."""
    lock(ImageEmbeddingJob.objects.filter(failed_at=None, attempts__gt=1).values("image"))
    lost = QUEUE.park_lost()
    in_active = ImageEmbeddingJob.objects.filter(
        image__in=lost, space__state=Space.State.ACTIVE, failed_at__isnull=False
    )
    Image.objects.filter(pk__in=in_active.values("image")).update(
        state=State.FAILED,
        failure="The worker died each time this image was embedded.",
    )
    return len(lost)


def lock(images: Iterable[int] | QuerySet[Any]) -> None:
    """Hold images until the transaction ends. Who locks jobs, too, comes here first: whoever
    deletes an image takes the two in this order, and in another one both would wait for ever.
    """
    held = Image.objects.filter(pk__in=images).order_by("pk")
    list(held.select_for_update(no_key=True).values_list("pk"))


def is_active(space: Space) -> bool:
    """Ask the database: the space may have been switched since the lease."""
    return Space.objects.filter(pk=space.pk, state=Space.State.ACTIVE).exists()


@transaction.atomic
def mend_states() -> int:
    """Put right what a switch of encoders left between two states. Return how many images."""
    ImageEmbeddingJob.objects.filter(space__state=Space.State.RETIRED).delete()
    vectors = ImageEmbedding.objects.filter(space__state=Space.State.ACTIVE)
    jobs_left = ImageEmbeddingJob.objects.filter(space__state=Space.State.ACTIVE)
    return (
        Image.objects.filter(state=State.WAITING, pk__in=vectors.values("image"))
        .exclude(pk__in=jobs_left.values("image"))
        .update(state=State.READY)
    )


def add_missing() -> int:
    """Queue images that have neither vector nor job. Return how many."""
    return sum(QUEUE.add_missing(space) for space in spaces.current())


@transaction.atomic
def reembed(images: QuerySet[Image]) -> int:
    """Queue images again, whether they have a vector or failed. Return how many."""
    ids = list(images.values_list("pk", flat=True))
    for space in spaces.current():
        QUEUE.add(ids, space)
    jobs.retry(ImageEmbeddingJob.objects.filter(image__in=ids))
    Image.objects.filter(pk__in=ids).update(state=State.WAITING, failure="")
    return len(ids)
