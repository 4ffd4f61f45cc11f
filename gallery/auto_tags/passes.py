"""Compares images with auto tags: new images with all, and all images with what is new or changed.

One process at a time does it, by an advisory lock. What is left to do stands in the database: a
calibration says for which version of its auto tag all images were compared, and the reader how far
the change feed was. Either is written after what it stands for, so a process that dies leaves work
that is done once more, and none that is not done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta

from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.models import Count, F, Max, OuterRef, Subquery
from django.db.models.functions import Coalesce
from django.utils import timezone

from embeddings import feed
from embeddings.errors import FeedLost
from embeddings.feed import FeedPosition
from embeddings.models import Space
from gallery import spaces
from gallery.auto_tags import comparing, encoding
from gallery.models import (
    AutoTag,
    AutoTagCalibration,
    AutoTagReader,
    ImageEmbedding,
    SuggestionState,
    TagSuggestion,
)

TAGS_AT_ONCE = 100  # compared in one reading of all vectors; bounds the memory
MOST_CHANGES = 20_000  # new vectors; of more, all are read
ENOUGH_ANSWERS = 25  # new ones that move the limits at once; fewer do when nobody answers any more
ANSWERS_REST = timedelta(seconds=60)
GROWTH = 0.25  # of the library, that moves the limits
LEAST_POPULATION = 40

ANSWERED = (SuggestionState.ACCEPTED, SuggestionState.REJECTED)

_LOCK = 0x61746167  # "atag"


def run(*, goes_on: Callable[[], bool] = lambda: True) -> int:
    """Compare what is to be compared, or as much as may be; return how many suggestions changed.

    Of auto tags whose prompts are encoded. Nothing is done while another process does it.
    """
    space = spaces.active()
    if space is None or not AutoTag.objects.exists():
        return 0
    with _alone() as is_ours:
        if not is_ours:
            return 0
        changed = _follow(space)
        due = due_in(space)
        for start in range(0, len(due), TAGS_AT_ONCE):
            if goes_on():
                some = encoding.encoded_in(space).filter(pk__in=due[start : start + TAGS_AT_ONCE])
                changed += comparing.compare_all(space, list(some))
    return changed


def due_in(space: Space) -> list[int]:
    """Return the ids of the calibrations of a space for which all images are to be compared."""
    of_each = TagSuggestion.objects.filter(auto_tag=OuterRef("auto_tag")).order_by()
    yes, no = (
        of_each.filter(state=state).values("auto_tag").annotate(n=Count("pk")).values("n")
        for state in ANSWERED
    )
    last = of_each.filter(state__in=ANSWERED).values("auto_tag").annotate(at=Max("answered_at"))
    # A look at the answers of each, by the index: of what waits for one there is far more.
    rows = encoding.encoded_in(space).annotate(
        yes=Coalesce(Subquery(yes), 0),
        no=Coalesce(Subquery(no), 0),
        answered_at=Subquery(last.values("at")),
    )
    population = comparing.population_of(space)
    return [one.pk for one in rows.defer("vectors") if _is_due(one, population)]


def _is_due(calibration: AutoTagCalibration, population: int) -> bool:
    if calibration.version != calibration.auto_tag.version:
        return True
    known = max(calibration.population, LEAST_POPULATION)
    if abs(population - calibration.population) > GROWTH * known:
        return True
    said = {name: getattr(calibration, name) for name in ("yes", "no", "answered_at")}  # annotated
    new = abs(said["yes"] - calibration.accepted) + abs(said["no"] - calibration.rejected)
    answered_at: datetime | None = said["answered_at"]
    is_resting = answered_at is None or answered_at < timezone.now() - ANSWERS_REST
    # A yes that became a no while a no became a yes leaves as many of each.
    is_news = new > 0 or (answered_at is not None and answered_at > calibration.calibrated_at)
    return new >= ENOUGH_ANSWERS or (is_news and is_resting)


def _follow(space: Space) -> int:
    """Compare the images whose vectors have changed; return how many suggestions changed."""
    known = AutoTagReader.objects.filter(space=space).first()
    try:
        if known is None:
            raise FeedLost("Nothing was read yet.")
        since = FeedPosition(known.identity, known.snapshot)
        if feed.count_changes(ImageEmbedding, space, since) > MOST_CHANGES:
            raise FeedLost("All are read in less time.")
        changes = feed.changes(ImageEmbedding, space, since)
    except FeedLost:
        _begin_anew(space)
        return 0
    changed = 0
    if len(changes.ids):
        current = encoding.encoded_in(space).filter(version=F("auto_tag__version"))
        changed = comparing.compare_some(current, changes.ids, changes.vectors)
    _remember(space, changes.position)
    return changed


@transaction.atomic
def _begin_anew(space: Space) -> None:
    """Let all images be compared with all auto tags, and follow the feed from before that on."""
    _remember(space, feed.position(ImageEmbedding))
    AutoTagCalibration.objects.filter(space=space).update(version=None)


def _remember(space: Space, position: FeedPosition) -> None:
    AutoTagReader.objects.update_or_create(
        space=space, defaults={"identity": position.identity, "snapshot": position.snapshot}
    )


@contextmanager
def _alone() -> Iterator[bool]:
    """Say whether no other process compares; until the block ends none does."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [_LOCK])
        is_ours: bool = cursor.fetchone()[0]
    try:
        yield is_ours
    finally:
        if is_ours:
            # A connection that was lost has taken the lock with it.
            with suppress(InterfaceError, OperationalError), connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [_LOCK])
