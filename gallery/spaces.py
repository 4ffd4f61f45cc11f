"""The gallery's space: which encoder its vectors are of, and what a person should know of it."""

from __future__ import annotations

import logging
import math
import time
from typing import NamedTuple

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Exists, OuterRef, Q, Subquery

from embeddings.encoders import names, registry, sources
from embeddings.encoders.sources import Source
from embeddings.models import Space
from gallery.models import (
    CaptionEmbeddingJob,
    Image,
    ImageEmbedding,
    ImageEmbeddingJob,
    State,
)

log = logging.getLogger(__name__)

NOTICE = (
    "This gallery uses the bundled encoder, which understands drawn scenes only, not photographs. "
    "For photographs: bin/manage switch_encoder openai/clip-vit-base-patch32, or a folder of your "
    "own; see “A real CLIP” in the README."
)


class _Seen(NamedTuple):
    space: Space | None
    at: float  # monotonic seconds


NEVER = _Seen(None, -math.inf)
_seen = NEVER


def active() -> Space | None:
    """Return the space that searches use; None before the first start has chosen one."""
    return Space.objects.filter(state=Space.State.ACTIVE).first()


def active_lately() -> Space | None:
    """Return the active space as of at most INDEX_POLL_SECONDS ago, for what is asked often.

    A search that begins in the moment after a switch is answered in the space before it, whole.
    """
    global _seen
    now = time.monotonic()
    if _seen.space is None or now - _seen.at > settings.INDEX_POLL_SECONDS:
        _seen = _Seen(active(), now)
    return _seen.space


def forget() -> None:
    """Let the next search ask for the active space."""
    global _seen
    _seen = NEVER


def current() -> list[Space]:
    """Return the spaces in which images and captions get vectors: the active one comes first."""
    return list(Space.objects.exclude(state=Space.State.RETIRED).order_by("state", "pk"))


def ensure() -> Space:
    """Return the active space; the first time, choose its encoder and make it.

    A gallery keeps the encoder of its active space whatever ENCODER says later: vectors of two
    encoders cannot be compared. Raise EncoderUnavailable when ENCODER names none.
    """
    space = active()
    if space is not None:
        return space
    chosen = _space_of(sources.choose())
    try:
        with transaction.atomic():
            Space.objects.filter(pk=chosen.pk).update(state=Space.State.ACTIVE)
    except IntegrityError:
        log.info("Another process has chosen an encoder first.")
    return Space.objects.get(state=Space.State.ACTIVE)


def begin_filling(encoder_name: str) -> Space:
    """Return the space of another encoder, in which images and captions get vectors from now on.

    Searches go on in the active one. Raise EncoderUnavailable when the name means no encoder.
    """
    space = _space_of(sources.find(encoder_name, revision=settings.ENCODER_REVISION))
    retired = Space.objects.filter(pk=space.pk, state=Space.State.RETIRED)
    retired.update(state=Space.State.FILLING)
    space.refresh_from_db()
    return space


@transaction.atomic
def switch_to(space: Space) -> None:
    """Make a filled space the active one: from the next search on, only it is used.

    It is filled when its images are. Captions that have no vector yet follow.
    """
    # Two switches at once take turns. Images are locked before their jobs, as by all others, and
    # spaces so that a worker which is just writing vectors in one need not wait for us.
    list(Space.objects.order_by("pk").select_for_update(no_key=True))
    list(Image.objects.order_by("pk").select_for_update(no_key=True).values_list("pk"))
    Space.objects.filter(state=Space.State.ACTIVE).exclude(pk=space.pk).update(
        state=Space.State.RETIRED
    )
    Space.objects.filter(pk=space.pk).update(state=Space.State.ACTIVE)
    forget()  # for this transaction
    transaction.on_commit(forget)
    ImageEmbeddingJob.objects.exclude(space=space).delete()
    CaptionEmbeddingJob.objects.exclude(space=space).delete()
    in_space = Q(pk__in=ImageEmbedding.objects.filter(space=space).values("image"))
    parked = ImageEmbeddingJob.objects.filter(image=OuterRef("pk"), failed_at__isnull=False)
    Image.objects.filter(in_space).update(state=State.READY, failure="")
    Image.objects.filter(~in_space, Exists(parked)).update(
        state=State.FAILED, failure=Subquery(parked.values("last_error")[:1])
    )
    Image.objects.filter(~in_space, ~Exists(parked)).update(state=State.WAITING, failure="")


def notice() -> str:
    """Return what a person should know before trusting the results; "" when there is nothing."""
    return notice_of(active())


def notice_of(space: Space | None) -> str:
    """Return the same of results that come from this space."""
    return NOTICE if space is not None and names.is_bundled(space.name) else ""


def _space_of(source: Source) -> Space:
    """Return the space of an encoder's files; a new one begins to fill."""
    known = Space.objects.filter(name=source.name, revision=source.revision).first()
    if known is not None:
        return known
    space, _ = Space.objects.get_or_create(
        name=source.name,
        revision=source.revision,
        defaults={"dimensions": registry.open_source(source).dimensions},
    )
    return space
