"""How the filling of another encoder's space begins.

Opening an encoder for the first time takes minutes: it is fetched from the hub, and exported. A web
request does not wait for that: a worker does it, and the space is unprepared meanwhile.
"""

from __future__ import annotations

import logging

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from embeddings.encoders import sources
from embeddings.encoders.names import EncoderName
from embeddings.errors import EncoderUnavailable
from embeddings.models import Space
from gallery import spaces
from gallery.errors import SpaceRefused

log = logging.getLogger(__name__)


def begin(encoder_name: str) -> Space:
    """Return the space of another encoder, in which images and captions get vectors from now on.

    Searches go on in the active one. Raise EncoderUnavailable when the name means no encoder, and
    SpaceRefused when there is another space beside the active one: each costs its encoder's memory
    in every process.
    """
    space = begin_later(encoder_name)
    if space.is_prepared:
        return space
    try:
        found = prepare(space)
    except EncoderUnavailable:
        drop_unprepared(space)  # whoever asked is told why
        raise
    drop_unprepared(space)  # another one is meant
    return found


def begin_later(encoder_name: str) -> Space:
    """Return the same, maybe unprepared: then a worker opens its encoder."""
    source = sources.check(encoder_name)
    # Of an id on the hub only who has fetched the files knows the revision.
    asked = str(EncoderName.parse(encoder_name)), ""
    name, revision = asked if source is None else (source.name, source.revision)
    with transaction.atomic():
        spaces.hold_alone()
        space = _in_use(name, revision)
        if space is None:
            space, _ = Space.objects.get_or_create(
                name=name, revision=revision, defaults={"dimensions": 0}
            )
            _fill(space)
    return space


def prepare(space: Space) -> Space:
    """Open a space's encoder for the first time. Return the space in which images get vectors now.

    That is another one where the files have a space: what was retired serves again, and then this
    one is no more. Raise EncoderUnavailable, and SpaceRefused when it was given up meanwhile.
    """
    source = sources.find(space.name, revision=space.revision or settings.ENCODER_REVISION)
    width = spaces.width_of(source)
    with transaction.atomic():
        spaces.hold_alone()
        known = Space.objects.filter(name=source.name, revision=source.revision)
        other = known.exclude(pk=space.pk).first()
        if other is None:
            _unprepared(space).exclude(trouble="").update(trouble="", is_paused=False)
            _unprepared(space).update(name=source.name, revision=source.revision, dimensions=width)
        elif other.state == Space.State.RETIRED and drop_unprepared(space):
            _fill(other)
        found = other or Space.objects.filter(pk=space.pk).first()
    if found is None or found.state == Space.State.RETIRED:
        raise SpaceRefused(f"{space} was given up meanwhile.")
    return found


def prepare_new() -> int:
    """Prepare whatever space waits for it, as a worker. Return how many were.

    One that cannot be prepared is paused, and says why: each try takes long.
    """
    waiting = Space.objects.filter(state=Space.State.FILLING, dimensions=0, is_paused=False)
    prepared = 0
    for space in waiting:
        try:
            found = prepare(space)
        except EncoderUnavailable as error:
            sentence = str(error)
        except SpaceRefused:
            continue
        else:
            sentence = f"These are the files of {found}, which has a space already."
        if _unprepared(space).update(trouble=sentence, is_paused=True):
            log.warning("%s cannot be filled: %s", space, sentence)
        else:
            prepared += 1
    return prepared


@transaction.atomic
def drop_unprepared(space: Space) -> bool:
    """Remove a space of whose encoder nothing is known yet; False when it is prepared by now."""
    # Held, because Django deletes what it has read, whatever a worker has made of it meanwhile.
    held = _unprepared(space).select_for_update().first()
    return held is not None and bool(held.delete()[0])


def _unprepared(space: Space) -> QuerySet[Space]:
    return Space.objects.filter(pk=space.pk, dimensions=0)


def _fill(space: Space) -> None:
    """Have a retired space, or a new one, get vectors. What is left of its vectors serves again."""
    space.state, space.is_paused, space.trouble = Space.State.FILLING, False, ""
    space.filled_at = space.active_until = space.retired_at = None
    space.filling_since = timezone.now()
    space.save()


def _in_use(name: str, revision: str) -> Space | None:
    """Return the space that gets vectors already and is meant by a name.

    Raise SpaceRefused when none is meant, and there is one beside the active one.
    """
    beside = None
    for space in Space.objects.exclude(state=Space.State.RETIRED):
        is_filling = space.state == Space.State.FILLING
        if space.name == name and (space.revision == revision or (is_filling and not revision)):
            return space
        beside = space if is_filling else beside
    if beside is not None:
        raise SpaceRefused(
            f"There is a space beside the active one already, {beside}: retire that one first."
        )
    return None
