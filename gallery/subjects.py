"""What gets vectors in the gallery, images and captions, and in what the two differ."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from django.conf import settings
from django.db.models import QuerySet
from PIL.Image import Image as Pixels

from embeddings.encoders.contract import Encoder
from embeddings.jobs import Queue
from embeddings.vectors import Vectors
from gallery import inspection
from gallery.errors import ImageRefused
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


@dataclass(frozen=True)
class Unreadable:
    """A subject that no encoder can be given, and why."""

    id: int
    reason: str
    is_final: bool = False


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

    def read(self, ids: Sequence[int], encoder: Encoder) -> Readable:
        """Read subjects, without those that were deleted meanwhile."""
        ...

    def lock(self, ids: Iterable[int] | QuerySet[Any]) -> None:
        """Hold what `show` changes until the transaction ends. Comes before any lock on jobs."""
        ...

    def show(self, ids: Iterable[int], *, failure: str) -> None:
        """Let people see that subjects have a vector to be found by, or why they have none."""
        ...


class Images:
    queue = Queue(ImageEmbeddingJob, ImageEmbedding)

    @property
    def at_once(self) -> int:
        return int(settings.ENCODER_BATCH)

    def read(self, ids: Sequence[int], encoder: Encoder) -> Readable:
        decoded: list[int] = []
        pixels: list[Pixels] = []
        unreadable: list[Unreadable] = []
        for image in Image.objects.filter(pk__in=ids).only("pk", "file").order_by("pk"):
            try:
                with image.file.open("rb") as file:
                    pixels.append(inspection.open_for_encoder(file, encoder.image_edge))
            except ImageRefused as refused:
                unreadable.append(Unreadable(image.pk, str(refused), is_final=True))
            except OSError as error:
                # The storage may be back soon.
                reason = f"The stored file cannot be read: {error}"
                unreadable.append(Unreadable(image.pk, reason))
            else:
                decoded.append(image.pk)
        return Readable(decoded, partial(encoder.encode_images, pixels), unreadable)

    def lock(self, ids: Iterable[int] | QuerySet[Any]) -> None:
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

    def read(self, ids: Sequence[int], encoder: Encoder) -> Readable:
        rows = Caption.objects.filter(pk__in=ids).order_by("pk").values_list("pk", "text")
        text_by_id = dict(rows)
        return Readable(list(text_by_id), partial(encoder.encode_texts, list(text_by_id.values())))

    def lock(self, ids: Iterable[int] | QuerySet[Any]) -> None:
        pass

    def show(self, ids: Iterable[int], *, failure: str) -> None:
        pass


IMAGES = Images()
CAPTIONS = Captions()
# In the order in which a worker asks: an upload is found by its image first.
ALL: tuple[Subjects, ...] = (IMAGES, CAPTIONS)
