"""The worker's part: claim a batch, read it, encode it, write the vectors.

Every step may be repeated. The job rows say what is left to do, whoever died in between. How the
steps of several batches overlap is in `overlap`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field

from django.db import transaction
from django.db.models import QuerySet

from embeddings import jobs
from embeddings.encoders import registry
from embeddings.errors import EncoderUnavailable, EncodingFailed, VectorInvalid
from embeddings.models import Space
from embeddings.vectors import Vectors
from gallery import spaces, subjects
from gallery.models import (
    Caption,
    CaptionEmbeddingJob,
    Image,
    ImageEmbedding,
    ImageEmbeddingJob,
    State,
)
from gallery.overlap import Encoded, Overlap
from gallery.subjects import CAPTIONS, IMAGES, Batch, Readable, Subjects

log = logging.getLogger(__name__)


@dataclass
class _Lack:
    """What this turn of the worker has to do without. The next one looks again."""

    encoders: dict[int, EncoderUnavailable] = field(default_factory=dict)  # by their space
    kinds: Sequence[Subjects] = subjects.ALL  # those that can be read

    def note(self, batch: Batch, read: Readable) -> None:
        """Claim no more of what is read from where nothing comes back: each would wait in vain."""
        if read.unreadable and not read.ids and all(one.is_passing for one in read.unreadable):
            self.kinds = [kind for kind in self.kinds if kind is not batch.subjects]


def embed_waiting(goes_on: Callable[[], bool] = lambda: True) -> int:
    """Embed until no job is due, or told to end between two batches. Return how many vectors.

    Raise EncoderUnavailable at the end if a space's encoder cannot be loaded: no image is at
    fault, its jobs go back, and the other spaces are served all the same.
    """
    written = 0
    lack = _Lack()
    with Overlap() as overlap:
        while True:
            _add_batches(overlap, goes_on, lack)
            if overlap.is_empty:
                break
            encoded = overlap.pop()
            lack.note(encoded.batch, encoded.read)
            try:
                written += store(encoded)
            except EncoderUnavailable as error:
                _give_back(encoded.batch, error, lack)
    if lack.encoders:
        raise next(iter(lack.encoders.values()))
    return written


def _add_batches(overlap: Overlap, goes_on: Callable[[], bool], lack: _Lack) -> None:
    while overlap.has_room and goes_on():
        batch = next_batch(without=lack.encoders, kinds=lack.kinds, is_alone=overlap.is_empty)
        if batch is None:
            return
        try:
            encoder = registry.load(batch.lease.space)
        except EncoderUnavailable as error:
            _give_back(batch, error, lack)
        else:
            if batch.lease.space.trouble:
                spaces.note_trouble(batch.lease.space, "")
            overlap.add(batch, batch.subjects.reading(batch.lease.subjects, encoder))


def _give_back(batch: Batch, error: EncoderUnavailable, lack: _Lack) -> None:
    batch.subjects.queue.give_back(batch.lease)
    spaces.note_trouble(batch.lease.space, str(error))
    lack.encoders[batch.lease.space.pk] = error


def next_batch(
    *,
    without: Container[int] = (),
    kinds: Sequence[Subjects] = subjects.ALL,
    is_alone: bool = True,
) -> Batch | None:
    """Claim the next batch. Asked anew after each: a new upload goes before an old refill.

    What failed before is given only to who does nothing else: it may kill the worker.
    """
    for space in spaces.worked_on():
        if space.pk not in without:
            for kind in kinds:
                claim = kind.queue.claim if is_alone else kind.queue.claim_fresh
                lease = claim(space, kind.at_once)
                if lease is not None:
                    return Batch(kind, lease)
    return None


def is_due() -> bool:
    """Whether anything could be embedded now."""
    worked_on = spaces.worked_on()
    return any(kind.queue.is_due(space) for space in worked_on for kind in subjects.ALL)


def store(encoded: Encoded) -> int:
    """Write the vectors of a batch; what could not be read is parked or waits.

    Raise EncoderUnavailable when the encoder could not do it now.
    """
    batch, read, vectors = encoded
    for one in read.unreadable:
        if one.is_passing:
            log.warning("%d has to wait: %s", one.id, one.reason)
            batch.subjects.queue.put_off(batch.lease, one.id, one.reason)
        else:
            fail(batch, one.id, one.reason, is_final=one.is_final, tries=one.tries)
    if not read.ids:
        return 0
    try:
        return finish(batch, read.ids, vectors())
    except (EncodingFailed, VectorInvalid, RuntimeError, ValueError, IndexError) as error:
        # One of them breaks the encoder. Each comes back alone, and the guilty one is parked.
        log.exception("A batch of %d could not be encoded.", len(read.ids))
        for id_ in read.ids:
            fail(batch, id_, f"The encoder failed: {error}")
        return 0


@transaction.atomic
def finish(batch: Batch, ids: list[int], vectors: Vectors) -> int:
    batch.subjects.lock(ids)
    done = batch.subjects.queue.finish(batch.lease, ids, vectors)
    if is_active(batch.lease.space):
        batch.subjects.show(done, failure="")
    return len(done)


@transaction.atomic
def fail(
    batch: Batch, id_: int, reason: str, *, is_final: bool = False, tries: int | None = None
) -> None:
    batch.subjects.lock([id_])
    queue = batch.subjects.queue
    if queue.fail(batch.lease, id_, reason, is_final=is_final, tries=tries):
        subject = queue.jobs.subject_field().name
        log.warning("The %s %d is parked: %s", subject, id_, reason)
        if is_active(batch.lease.space):
            batch.subjects.show([id_], failure=reason)


def park_lost() -> int:
    """Park what killed its worker each time. Return how many."""
    return sum(_park_lost(kind) for kind in subjects.ALL)


@transaction.atomic
def _park_lost(kind: Subjects) -> int:
    queued = kind.queue.jobs._default_manager
    subject = kind.queue.jobs.subject_field().name
    kind.lock(queued.filter(failed_at=None, attempts__gt=1).values(subject))
    lost = kind.queue.park_lost(tries_of_failed=subjects.TRIES_OF_FILE)
    in_active = queued.filter(
        space__state=Space.State.ACTIVE, failed_at__isnull=False, **{f"{subject}__in": lost}
    )
    kind.show(
        list(in_active.values_list(subject, flat=True)),
        failure=f"The worker died while this {subject} was embedded.",
    )
    return len(lost)


def is_active(space: Space) -> bool:
    """Ask the database: the space may have been switched since the lease.

    The answer holds until the transaction ends where `Subjects.lock` came before.
    """
    return Space.objects.filter(pk=space.pk, state=Space.State.ACTIVE).exists()


def mend_states() -> int:
    """Put right what was left between two states. Return how many images."""
    for kind in subjects.ALL:
        kind.queue.drop_retired()
    vectors = ImageEmbedding.objects.filter(space__state=Space.State.ACTIVE)
    jobs_left = ImageEmbeddingJob.objects.filter(space__state=Space.State.ACTIVE)
    embedded = Image.objects.filter(state=State.WAITING, pk__in=vectors.values("image"))
    mended = embedded.exclude(pk__in=jobs_left.values("image")).update(state=State.READY)
    return mended + spaces.show_rest()


def add_missing() -> int:
    """Queue what has neither vector nor job. Return how many."""
    current = spaces.current()
    return sum(kind.queue.add_missing(space) for space in current for kind in subjects.ALL)


@transaction.atomic
def reembed(images: QuerySet[Image]) -> int:
    """Queue images and their captions again, embedded or failed. Return how many images."""
    ids = list(images.values_list("pk", flat=True))
    IMAGES.lock(ids)
    captions = list(Caption.objects.filter(image__in=ids).values_list("pk", flat=True))
    for space in spaces.current():
        IMAGES.queue.add(ids, space)
        CAPTIONS.queue.add(captions, space)
    jobs.retry(ImageEmbeddingJob.objects.filter(image__in=ids))
    jobs.retry(CaptionEmbeddingJob.objects.filter(caption__in=captions))
    Image.objects.filter(pk__in=ids).update(state=State.WAITING, failure="")
    return len(ids)


@transaction.atomic
def retry_parked() -> int:
    """Let all that has failed be tried again, as if for the first time. Return how many."""
    parked = ImageEmbeddingJob.objects.filter(failed_at__isnull=False)
    ids = list(parked.values_list("image", flat=True))
    IMAGES.lock(ids)
    Image.objects.filter(pk__in=ids, state=State.FAILED).update(state=State.WAITING, failure="")
    captions = CaptionEmbeddingJob.objects.filter(failed_at__isnull=False)
    return jobs.retry(parked) + jobs.retry(captions)
