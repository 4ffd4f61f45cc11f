"""How far a space is filled: counts, speed, what it lacks beside the active one, what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.models import Exists, OuterRef, QuerySet, Sum
from django.utils import timezone

from embeddings.models import Space
from gallery import spaces, subjects
from gallery.subjects import Subjects

# By the rows written last: no counter that a killed worker could leave wrong.
_SPEED = """
WITH newest AS MATERIALIZED (
    SELECT space_id, embedded_at FROM {table} WHERE id > (SELECT max(id) FROM {table}) - %(rows)s
)
SELECT count(*), extract(epoch FROM clock_timestamp() - min(embedded_at)) FROM newest
WHERE space_id = %(space)s AND embedded_at > now() - make_interval(secs => %(seconds)s)
"""
SPEED_ROWS, SPEED_SECONDS, LEAST_SECONDS = 5000, 60, 2
ROW_BYTES = 90  # of a vector's row and its index entries, beside two bytes a dimension


@dataclass(frozen=True, kw_only=True)
class Count:
    """How many of one kind have their vector in a space."""

    kind: str  # "images" or "captions"
    total: int
    done: int
    failed: int  # parked, with a reason
    per_second: float  # lately

    @property
    def left(self) -> int:
        return max(0, self.total - self.done - self.failed)

    @property
    def seconds_left(self) -> float | None:
        """Return how long the rest takes at this speed; None when nobody knows."""
        if not self.left:
            return 0.0
        return self.left / self.per_second if self.per_second else None


@dataclass(frozen=True)
class Progress:
    """How far a space is filled, images first."""

    counts: tuple[Count, ...]

    @property
    def left(self) -> int:
        return sum(count.left for count in self.counts)

    @property
    def failed(self) -> int:
        return sum(count.failed for count in self.counts)

    @property
    def per_second(self) -> float:
        return sum(count.per_second for count in self.counts)

    @property
    def seconds_left(self) -> float | None:
        """Return how long the rest takes; None when nobody knows.

        Captions come after images and go many times as fast: while their speed is not known,
        what is left is as good as the images.
        """
        known = [count.seconds_left for count in self.counts if count.seconds_left is not None]
        if not self.left or not self.per_second or not known:
            return None
        return sum(known)


@dataclass(frozen=True)
class Lack:
    """Of how much the active space has a vector, and another one has none; empty: of nothing."""

    count_by_kind: Mapping[str, int]

    def __bool__(self) -> bool:
        return any(self.count_by_kind.values())

    def sentence(self, space: Space) -> str:
        """Return what would not be found in a space; "" when it lacks nothing."""
        if not self:
            return ""
        parts = [f"{n:,} {_number(kind, n)}" for kind, n in self.count_by_kind.items() if n]
        is_one = sum(self.count_by_kind.values()) == 1
        have = "has" if is_one else "have"
        return (
            f"{' and '.join(parts)} that {'is' if is_one else 'are'} found now {have} no vector in "
            f"{space} yet."
        )


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a space takes."""

    vector_bytes: int  # in the database, about
    index_bytes: int  # files of its indexes
    filled_in_seconds: float | None  # from its beginning on, pauses included


def progress(space: Space) -> Progress:
    return Progress(tuple(_count(kind, space) for kind in subjects.ALL))


def lack_of(space: Space) -> Lack:
    """Return what the active space has a vector of, and this one has not."""
    active = spaces.active()
    if active is None or active == space:
        return Lack({})
    return Lack({name_of(kind): _lacking(kind, space, active).count() for kind in subjects.ALL})


def is_lacking(space: Space) -> bool:
    """Whether it lacks anything at all: soon told, where to count all of it takes a second."""
    active = spaces.active()
    if active is None or active == space:
        return False
    return any(_lacking(kind, space, active).exists() for kind in subjects.ALL)


def note_filled(space: Space) -> bool:
    """Keep since when a space lacks nothing but what cannot be embedded; return whether it does.

    What is parked, with its reason, would keep a space from ever being filled.
    """
    active = spaces.active()
    if active is None or active == space or space.state != Space.State.FILLING:
        return False
    if not space.is_prepared:
        return False
    if any(_waiting(kind, space, active).exists() for kind in subjects.ALL):
        return False
    unfilled = Space.objects.filter(
        pk=space.pk, state=Space.State.FILLING, filled_at=None, is_paused=False
    )
    unfilled.update(filled_at=timezone.now())
    return True


def cost_of(space: Space, known: Progress) -> Cost:
    """Return what a space takes that is so far filled."""
    took = None
    if space.filling_since and space.filled_at:
        took = (space.filled_at - space.filling_since).total_seconds()
    files = space.snapshots.aggregate(bytes=Sum("bytes"))["bytes"]
    return Cost(
        vector_bytes=sum(count.done for count in known.counts) * (2 * space.dimensions + ROW_BYTES),
        index_bytes=files or 0,
        filled_in_seconds=took,
    )


def name_of(kind: Subjects) -> str:
    return f"{kind.queue.jobs.subject_field().name}s"


def _number(kind: str, n: int) -> str:
    return kind.removesuffix("s") if n == 1 else kind


def _count(kind: Subjects, space: Space) -> Count:
    target = kind.queue.jobs.subject_field().related_model
    vectors = kind.queue.vectors._default_manager.filter(space=space)
    # Who is parked was tried: that leaves the index only the few that were. One that is embedded
    # again, and fails, has its vector still.
    parked = kind.queue.jobs._default_manager.filter(
        space=space, attempts__gt=0, failed_at__isnull=False
    )
    name = kind.queue.jobs.subject_field().name
    has_vector = Exists(vectors.filter(**{name: OuterRef(name)}))
    return Count(
        kind=name_of(kind),
        total=target._default_manager.count(),
        done=vectors.count(),
        failed=parked.filter(~has_vector).count(),
        per_second=0.0 if space.is_paused else _speed(kind, space),
    )


def _speed(kind: Subjects, space: Space) -> float:
    table = connection.ops.quote_name(kind.queue.vectors._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(
            _SPEED.format(table=table),
            {"rows": SPEED_ROWS, "space": space.pk, "seconds": SPEED_SECONDS},
        )
        count, seconds = cursor.fetchone()
    return float(count) / max(float(seconds), LEAST_SECONDS) if count else 0.0


def _waiting(kind: Subjects, space: Space, active: Space) -> QuerySet[Any]:
    name = kind.queue.jobs.subject_field().name
    parked = kind.queue.jobs._default_manager.filter(
        space=space, failed_at__isnull=False, **{name: OuterRef(name)}
    )
    return _lacking(kind, space, active).filter(~Exists(parked))


def _lacking(kind: Subjects, space: Space, active: Space) -> QuerySet[Any]:
    name = kind.queue.jobs.subject_field().name
    vectors = kind.queue.vectors._default_manager
    there = vectors.filter(space=space, **{name: OuterRef(name)})
    return vectors.filter(space=active).filter(~Exists(there))
