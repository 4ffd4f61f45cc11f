"""The gallery's spaces: which encoder searches use, and which one beside it gets vectors too.

What people do to them, with its conditions, is in `switching`.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from typing import NamedTuple

from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import Exists, OuterRef, Q, Subquery
from django.db.models.functions import Coalesce, Now

from embeddings.encoders import names, opening, registry, sources
from embeddings.encoders.sources import Source
from embeddings.models import Space
from gallery.errors import SpaceRefused
from gallery.models import Image, ImageEmbedding, ImageEmbeddingJob, State

log = logging.getLogger(__name__)

NOTICE = (
    "This gallery uses the bundled encoder, which understands drawn scenes only, not photographs. "
    "For photographs: bin/manage switch_encoder openai/clip-vit-base-patch32, or a folder of your "
    "own; see “A real CLIP” in the README."
)
# Images whose state is put right in one transaction after a switch, and by one turn of the worker.
SHOWN_AT_ONCE, SHOWN_A_TURN = 2000, 20_000
_LOCK = "hashtextextended('gallery.spaces', 7)"


class _Seen(NamedTuple):
    space: Space | None  # that searches of this process use
    beside: Space | None  # the other one
    at: float  # monotonic seconds


NEVER = _Seen(None, None, -math.inf)
_seen = NEVER
_may_go_over: Callable[[Space], bool] = lambda space: True  # noqa: E731  (a place for a function)


def active() -> Space | None:
    """Return the space that searches use; None before the first start has chosen one."""
    return Space.objects.filter(state=Space.State.ACTIVE).first()


def active_lately() -> Space | None:
    """Return the active space as of at most INDEX_POLL_SECONDS ago, for what is asked often.

    A search that begins in the moment after a switch is answered in the space before it, whole;
    and so are those of a process that has not loaded the new encoder yet, see `go_over_when`.
    """
    return _lately().space


def beside_lately() -> Space | None:
    """Return the other space, filled or not, as of as long ago; None when there is none."""
    return _lately().beside


def go_over_when(is_ready: Callable[[Space], bool]) -> None:
    """Have searches of this process stay in the space before a switch until it is ready.

    `is_ready` is asked again and again; what it answers counts as long as the one before is kept.
    """
    global _may_go_over
    _may_go_over = is_ready


def forget() -> None:
    """Let the next search ask which space is active."""
    global _seen
    _seen = _seen._replace(at=-math.inf)  # what it was tells where searches may stay


def _lately() -> _Seen:
    global _seen
    seen, now = _seen, time.monotonic()
    if seen.space is None or now - seen.at > settings.INDEX_POLL_SECONDS:
        _seen = seen = _look(seen.space, now)
    return seen


def _look(before: Space | None, now: float) -> _Seen:
    there = current()
    registry.keep_only(there)
    space = next((one for one in there if one.state == Space.State.ACTIVE), None)
    if space is not None and before in there and before != space and not _may_go_over(space):
        space = before
    return _Seen(space, next((one for one in there if one != space), None), now)


def current() -> list[Space]:
    """Return the spaces in which images and captions get vectors: the active one comes first."""
    return list(Space.in_use().order_by("state", "pk"))


def worked_on() -> list[Space]:
    """Return those of them that are not paused: the active one comes first."""
    return [space for space in current() if not space.is_paused]


def beside() -> Space | None:
    """Return the space beside the active one, filled or not, or not even prepared."""
    return Space.objects.filter(state=Space.State.FILLING).order_by("pk").first()


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
            Space.objects.filter(pk=chosen.pk).update(state=Space.State.ACTIVE, is_paused=False)
    except IntegrityError:
        log.info("Another process has chosen an encoder first.")
    return Space.objects.get(state=Space.State.ACTIVE)


@transaction.atomic
def switch_to(space: Space) -> None:
    """Make a space the active one, whatever it lacks: from the next search on, only it is used.

    The one before stays beside it, gets vectors of all that is new, and can take its place again.
    Raise SpaceRefused when it was retired.
    """
    hold_alone()
    Space.objects.filter(state=Space.State.ACTIVE).exclude(pk=space.pk).update(
        state=Space.State.FILLING,
        active_until=Now(),
        filled_at=Coalesce("filled_at", Now()),
    )
    is_there = Space.objects.filter(pk=space.pk).exclude(state=Space.State.RETIRED)
    if not is_there.update(state=Space.State.ACTIVE, is_paused=False, active_until=None):
        raise SpaceRefused(f"{space} is retired: fill it again first.")
    forget()  # for this transaction
    transaction.on_commit(forget)
    _show_some(space)


def show_rest() -> int:
    """Go on with what a switch left, in transactions of their own. Return how many were changed."""
    changed = 0
    for _ in range(SHOWN_A_TURN // SHOWN_AT_ONCE):
        some = _show_next()
        changed += some
        if not some:
            break
    return changed


@transaction.atomic
def _show_next() -> int:
    space = active()
    if space is None or space.is_shown:
        return 0
    hold_alone()
    space = active()  # somebody may have switched before us
    return 0 if space is None else _show_some(space)


def hold_alone() -> None:
    """Let nobody else change spaces, or what images say of theirs, until the transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT pg_advisory_xact_lock({_LOCK})")


def hold_still() -> None:
    """Let no space be switched until the transaction ends.

    For whoever writes what an image says of its vector in the active space. Comes before any lock
    on images, as in `switch_to`: else the two would wait for each other for ever.
    """
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT pg_advisory_xact_lock_shared({_LOCK})")


def note_trouble(space: Space, sentence: str) -> None:
    """Keep why no worker can embed for a space; "" when one can again."""
    Space.objects.filter(pk=space.pk).exclude(trouble=sentence).update(trouble=sentence)


def _show_some(space: Space) -> int:
    """Have images say of their vector what is so in this space, and keep whether that is all.

    After a switch to a filled space few say anything else. Of more, the worker does the rest: a
    row takes a millisecond, and whoever writes vectors waits meanwhile.
    """
    vector = Exists(ImageEmbedding.objects.filter(image=OuterRef("pk"), space=space))
    parked = ImageEmbeddingJob.objects.filter(
        image=OuterRef("pk"), space=space, failed_at__isnull=False
    )
    ready, waiting = Q(state=State.READY, failure=""), Q(state=State.WAITING, failure="")
    failed = Q(state=State.FAILED)
    # Two statements: of an OR, Postgres would look up each image's vector by itself.
    found = Image.objects.filter(~ready, vector)
    lost = Image.objects.filter(~vector).exclude(waiting & ~Exists(parked))
    lost = lost.exclude(failed & Exists(parked))
    ids = list(found.values_list("pk", flat=True)[:SHOWN_AT_ONCE])
    ids += lost.values_list("pk", flat=True)[: SHOWN_AT_ONCE - len(ids)]
    images = Image.objects.filter(pk__in=ids)
    # In this order, as by all others: in another one two could wait for each other for ever.
    list(images.order_by("pk").select_for_update(no_key=True).values_list("pk"))
    images.filter(vector).update(state=State.READY, failure="")
    images.filter(~vector, Exists(parked)).update(
        state=State.FAILED, failure=Subquery(parked.values("last_error")[:1])
    )
    images.filter(~vector, ~Exists(parked)).update(state=State.WAITING, failure="")
    Space.objects.filter(pk=space.pk).update(is_shown=len(ids) < SHOWN_AT_ONCE)
    return len(ids)


def notice() -> str:
    """Return what a person should know before trusting the results; "" when there is nothing."""
    return notice_of(active())


def notice_of(space: Space | None) -> str:
    """Return the same of results that come from this space."""
    return NOTICE if space is not None and names.is_bundled(space.name) else ""


def width_of(source: Source) -> int:
    """Return the dimensions of an encoder's vectors; the first time, it is opened for that."""
    same = Space.objects.filter(name=source.name, revision=source.revision, dimensions__gt=0)
    known = same.values_list("dimensions", flat=True).first()
    return opening.open_source(source).dimensions if known is None else known


def _space_of(source: Source) -> Space:
    """Return the space of an encoder's files; a new one begins to fill."""
    space, _ = Space.objects.get_or_create(
        name=source.name, revision=source.revision, defaults={"dimensions": width_of(source)}
    )
    return space
