"""What gets vectors in the gallery, images and captions, and in what the two differ."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from django.conf import settings
from django.db.models import QuerySet

from embeddings.encoders.contract import Encoder
from embeddings.encoders.framing import Frames, Framing
from embeddings.jobs import Lease, Queue
from embeddings.vectors import Vectors
from gallery import originals, spaces
from gallery.decoding import decoders
from gallery.decoding.processes import DecoderDied
from gallery.errors import ImageRefused, StorageUnavailable
from gallery.models import (
    Caption,
    CaptionEmbedding,
    CaptionEmbeddingJob,
    Image,
    ImageEmbedding,
    ImageEmbeddingJob,
    State,
)

# Texts are small and soon encoded: a claim and a commit for a few of them would cost more.
CAPTIONS_AT_ONCE = 64
# Files that are fetched from the storage at once, which may be far away.
READ_AT_ONCE = 8
# Tries of a file that is there and does not let itself be read, from 5 seconds to 21 minutes apart:
# in three quarters of an hour somebody may have mended the disk.
TRIES_OF_FILE = 10


@dataclass(frozen=True)
class Unreadable:
    """A subject that no encoder can be given, and why."""

    id: int
    reason: str
    is_final: bool = False
    is_passing: bool = False  # no fault of its own: what it is read from is away
    tries: int | None = None  # that it has before it is parked; None: JOB_MAX_ATTEMPTS


@dataclass(frozen=True)
class Readable:
    """Subjects as the encoder takes them. `encode` gives their vectors in the order of `ids`."""

    ids: list[int]
    encode: Callable[[], Vectors]
    unreadable: list[Unreadable] = field(default_factory=list)


class Subjects(Protocol):
    """Rows of one table that get vectors by the queue of record."""

    @property
    def queue(self) -> Queue: ...

    @property
    def at_once(self) -> int:
        """How many are a batch."""
        ...

    def reading(self, ids: Sequence[int], encoder: Encoder) -> Callable[[], Readable]:
        """Look subjects up, and return what reads those that are still there.

        That takes long, asks the database nothing, and may be called by another thread.
        """
        ...

    def lock(self, ids: Iterable[int] | QuerySet[Any]) -> None:
        """Hold what `show` changes until the transaction ends. Comes before any lock on jobs."""
        ...

    def show(self, ids: Iterable[int], *, failure: str) -> None:
        """Let people see that subjects have a vector to be found by, or why they have none."""
        ...


@dataclass(frozen=True)
class Batch:
    """What a worker has claimed: some subjects of one kind, for one space."""

    subjects: Subjects
    lease: Lease


class Images:
    queue = Queue(ImageEmbeddingJob, ImageEmbedding)

    @property
    def at_once(self) -> int:
        return int(settings.ENCODER_BATCH)

    def reading(self, ids: Sequence[int], encoder: Encoder) -> Callable[[], Readable]:
        known = originals.with_places(Image.objects.filter(pk__in=ids))
        images = list(known.only(*originals.FIELDS).order_by("pk"))
        return partial(_read_images, images, encoder)

    def lock(self, ids: Iterable[int] | QuerySet[Any]) -> None:
        spaces.hold_still()  # what is shown is of the active space
        # In this order, and images before jobs, as by whoever deletes or switches: in another one
        # the two would wait for each other for ever.
        held = Image.objects.filter(pk__in=ids).order_by("pk")
        list(held.select_for_update(no_key=True).values_list("pk"))

    def show(self, ids: Iterable[int], *, failure: str) -> None:
        state = State.FAILED if failure else State.READY
        Image.objects.filter(pk__in=ids).update(state=state, failure=failure)


class Captions:
    """An image is ready with its own vector, so nothing of it changes when its captions follow."""

    queue = Queue(CaptionEmbeddingJob, CaptionEmbedding)
    at_once = CAPTIONS_AT_ONCE

    def reading(self, ids: Sequence[int], encoder: Encoder) -> Callable[[], Readable]:
        rows = Caption.objects.filter(pk__in=ids).order_by("pk").values_list("pk", "text")
        text_by_id = dict(rows)
        encode = partial(encoder.encode_texts, list(text_by_id.values()))
        return lambda: Readable(list(text_by_id), encode)

    def lock(self, ids: Iterable[int] | QuerySet[Any]) -> None:
        pass

    def show(self, ids: Iterable[int], *, failure: str) -> None:
        pass


def read_frames(
    images: Sequence[Image], framing: Framing
) -> Iterator[tuple[Image, Frames | Unreadable]]:
    """Yield what is looked at of stored images (with their `originals.FIELDS`), in their order."""
    with ThreadPoolExecutor(READ_AT_ONCE, thread_name_prefix="reading") as pool:
        yield from zip(images, pool.map(partial(_read_image, framing=framing), images), strict=True)


def _read_images(images: Sequence[Image], encoder: Encoder) -> Readable:
    decoded: list[int] = []
    frames: list[Frames] = []
    unreadable: list[Unreadable] = []
    for image, read in read_frames(images, encoder.framing):
        if isinstance(read, Unreadable):
            unreadable.append(read)
        else:
            decoded.append(image.pk)
            frames.append(read)
    return Readable(decoded, partial(encoder.encode_frames, frames), unreadable)


def _read_image(image: Image, *, framing: Framing) -> Frames | Unreadable:
    try:
        with originals.opened(image) as file:
            return decoders.frame_stored(file, framing)
    except DecoderDied as died:
        # It may have been the machine, short of memory or time.
        return Unreadable(image.pk, str(died))
    except ImageRefused as refused:
        return Unreadable(image.pk, str(refused), is_final=True)
    except FileNotFoundError as error:
        # A folder may be mounted again.
        return Unreadable(image.pk, f"The stored file cannot be read: {_why(error)}")
    except (OSError, StorageUnavailable) as error:
        # The storage, or what decodes, is away; or the file is there and nobody can read it.
        reason = f"The stored file cannot be read: {_why(error)}"
        if originals.is_passing(error):
            return Unreadable(image.pk, reason, is_passing=True)
        advice = "Mend the storage or its rights, then run manage.py retry_embedding."
        return Unreadable(image.pk, f"{reason}. {advice}", tries=TRIES_OF_FILE)


def _why(error: OSError | StorageUnavailable) -> str:
    # The text of an OSError may name a path of this machine.
    if isinstance(error, StorageUnavailable):
        return str(error)
    return error.strerror or "the storage failed"


IMAGES = Images()
CAPTIONS = Captions()
# In the order in which a worker asks: an upload is found by its image first.
ALL: tuple[Subjects, ...] = (IMAGES, CAPTIONS)
