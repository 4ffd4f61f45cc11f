"""What people do to spaces: fill, pause, resume, switch, go back, retire.

Each is one conditional UPDATE or happens under the lock of switches, so that of two who press at
once one wins and the other is told.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from embeddings.encoders import registry
from embeddings.models import Space
from gallery import spaces, tasks
from gallery.errors import SpaceRefused
from gallery.switching import filling
from gallery.switching import tasks as opening
from gallery.switching.progress import Lack, lack_of, note_filled

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Switched:
    """What a switch has done."""

    now: Space
    before: Space | None
    lack: Lack  # what is not found any more, until it is embedded


def find(written: str) -> Space:
    """Return the space of a number, or of an encoder's name, folder or beginning of a revision.

    Raise SpaceRefused when there is none, or more than one.
    """
    known = list(Space.objects.order_by("pk"))
    if written.isdecimal():
        found = [space for space in known if str(space.pk) == written]
    else:
        folder = str(Path(written).expanduser().resolve())
        found = [space for space in known if written in (space.name, str(space))]
        found = found or [space for space in known if written == space.title]
        found = found or [space for space in known if folder == space.name]
        found = found or [space for space in known if space.revision.startswith(written)]
    if len(found) == 1:
        return found[0]
    there = "; ".join(f"{space.pk}: {space}" for space in known) or "none"
    what = "more than one space" if found else "no space"
    raise SpaceRefused(f"There is {what} of “{written[:100]}”. Say its number: {there}.")


def former() -> Space | None:
    """Return the space to go back to: the one that was active last and is not retired."""
    left = Space.objects.filter(state=Space.State.FILLING, active_until__isnull=False)
    return left.order_by("-active_until").first()


def fill(encoder_name: str) -> Space:
    """Begin, or go on, to embed all images and captions with another encoder, in the background.

    The first time its encoder is opened for that, which may take minutes. Raise EncoderUnavailable
    when the name means none, SpaceRefused when there is another space already.
    """
    return _told_to_workers(filling.begin(encoder_name))


def fill_later(encoder_name: str) -> Space:
    """Begin the same without waiting: a worker opens the encoder.

    Raise EncoderUnavailable when it is plain that the name means none, and SpaceRefused.
    """
    return _told_to_workers(filling.begin_later(encoder_name))


def pause(space: Space) -> None:
    """Let no worker embed for a space until it is resumed; batches in progress are finished."""
    if not _filling(space).update(is_paused=True):
        sentence = _told(space)
        if space.state == Space.State.ACTIVE:
            sentence += " Only what is beside it can be paused: new images would not be found."
        raise SpaceRefused(sentence)
    space.refresh_from_db()


def resume(space: Space) -> None:
    """Let workers go on with a paused space."""
    if not _filling(space).update(is_paused=False, trouble=""):
        raise SpaceRefused(_told(space))
    space.refresh_from_db()
    _told_to_workers(space)


def switch(space: Space, *, seen: Space | None, partly: bool = False) -> Switched:
    """Let searches use a space, in the place of the one that whoever asks has `seen` as active.

    In one transaction; `partly`: although it lacks vectors. Raise SpaceRefused when somebody else
    has switched meanwhile, when it lacks some, or when it is retired; EncoderUnavailable when its
    encoder cannot be loaded, so that no search could be answered.
    """
    _check_switch(space, seen=seen, partly=partly)  # before seconds are spent on its encoder
    registry.load(space).encode_texts(["a"])
    with transaction.atomic():
        spaces.hold_alone()
        lack = _check_switch(space, seen=seen, partly=partly)
        if not lack:
            note_filled(space)
        spaces.switch_to(space)
        transaction.on_commit(tasks.wake, robust=True)
    space.refresh_from_db()
    if not space.is_shown:
        tasks.find_missing()
    log.warning("Searches use %s from now on, and no longer %s.", space, seen)
    return Switched(space, seen, lack)


def retire(space: Space) -> None:
    """Give a space up: it gets no vectors any more, and in the background all of it is removed.

    Raise SpaceRefused for the active one.
    """
    if filling.drop_unprepared(space):
        return
    # One that is being removed already is not put off; one of before there was removing is.
    left = Space.objects.filter(pk=space.pk, retired_at=None).exclude(state=Space.State.ACTIVE)
    if not left.update(
        state=Space.State.RETIRED, is_paused=False, retired_at=timezone.now(), filled_at=None
    ):
        sentence = _told(space)
        if space.state == Space.State.ACTIVE:
            raise SpaceRefused(f"{sentence} Switch to another one first.")
    else:
        space.refresh_from_db()
    transaction.on_commit(spaces.forget)


def _check_switch(space: Space, *, seen: Space | None, partly: bool) -> Lack:
    """Return what a space lacks. Raise SpaceRefused unless it may be switched to now."""
    active = spaces.active()
    if active == space:
        raise SpaceRefused(f"{space} is the active space already.")
    if active != seen:
        raise SpaceRefused(
            f"Somebody else has switched meanwhile: {active} is the active space now. "
            "Look at it before you switch again."
        )
    if not _kept(space).exists():
        raise SpaceRefused(f"{_told(space)} Fill it again first.")
    if not space.is_prepared:
        raise SpaceRefused(f"The encoder of {space} was not opened yet: it has no vectors.")
    lack = lack_of(space)
    if lack and not partly:
        wait = "Resume it and wait" if space.is_paused else "Wait"
        raise SpaceRefused(
            f"{lack.sentence(space)} {wait} until it is filled, let what failed be tried again, "
            "or switch partly: they are then not found until they are embedded."
        )
    return lack


def _told_to_workers(space: Space) -> Space:
    if space.is_prepared:
        spaces.note_trouble(space, "")  # whoever asks again may have mended it
    begin = tasks.find_missing if space.is_prepared else opening.begin
    transaction.on_commit(begin, robust=True)
    return space


def _filling(space: Space) -> QuerySet[Space]:
    return Space.objects.filter(pk=space.pk, state=Space.State.FILLING)


def _kept(space: Space) -> QuerySet[Space]:
    return Space.objects.filter(pk=space.pk).exclude(state=Space.State.RETIRED)


def _told(space: Space) -> str:
    """Return what a space is now, as a sentence."""
    try:
        space.refresh_from_db()
    except Space.DoesNotExist:
        return "This space is no more."
    if space.state == Space.State.ACTIVE:
        return f"{space} is the active space."
    return f"{space} is {space.get_state_display().lower()}."
