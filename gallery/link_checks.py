"""Looking whether the sources of images are still there, many at once, and writing down what is.

It can end at any line and go on later: what was written is not looked at again until it is old.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone

from gallery import downloads
from gallery.downloads import DownloadFailed
from gallery.downloads.errors import HostLeftAlone
from gallery.models import Image, LinkState, SourceLink

THREADS = 32
UNDER_WAY = 4 * THREADS  # more than threads, so that a slow host does not hold up the others
WRITTEN_AT_ONCE = 50  # what a killed process may have to look at again
_READ_AT_ONCE = 1000
UNREACHABLE_KNOWN = timedelta(days=1)


@dataclass(frozen=True)
class Source:
    """Where an image is from."""

    pk: int
    uuid: UUID
    url: str


@dataclass(frozen=True)
class Checked:
    """What was found there."""

    source: Source
    state: LinkState
    reason: str  # a sentence; "" where all is well
    at: datetime
    was_asked: bool = True


def due(*, checked_before: datetime) -> QuerySet[Image]:
    """Return images whose source was never looked at, or at another URL, or longer ago.

    That one was not reached says little after a day.
    """
    known = SourceLink.objects.filter(
        image=OuterRef("pk"), url=OuterRef("source_url"), checked_at__gte=checked_before
    ).exclude(state=LinkState.UNREACHABLE, checked_at__lt=timezone.now() - UNREACHABLE_KNOWN)
    return Image.objects.exclude(source_url="").exclude(Exists(known))


def check_all(
    images: QuerySet[Image], *, limit: int | None = None
) -> Generator[Checked, None, None]:
    """Look at the sources of images, the oldest image first; yield each when it is written down."""
    todo = islice(_sources(images), limit)
    found: list[Checked] = []
    with _threads() as threads:
        try:
            under_way: set[Future[Checked]] = set()
            while True:
                further = islice(todo, UNDER_WAY - len(under_way))
                under_way |= {threads.submit(_check, source) for source in further}
                if not under_way:
                    break
                done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                found += [future.result() for future in done]
                if len(found) >= WRITTEN_AT_ONCE:
                    written, found = found, []
                    yield from _write(written)
        except (GeneratorExit, KeyboardInterrupt):
            _write(found)  # whoever stops it has seen enough, but it was found all the same
            raise
    yield from _write(found)


@contextmanager
def _threads() -> Iterator[ThreadPoolExecutor]:
    threads = ThreadPoolExecutor(THREADS, thread_name_prefix="links")
    try:
        yield threads
    finally:
        threads.shutdown(cancel_futures=True)


def _sources(images: QuerySet[Image]) -> Iterator[Source]:
    """Read a little at a time: a cursor would be open for hours."""
    last = 0
    rows = images.order_by("pk").values_list("pk", "uuid", "source_url")
    while some := [Source(*row) for row in rows.filter(pk__gt=last)[:_READ_AT_ONCE]]:
        yield from some
        last = some[-1].pk


def _check(source: Source) -> Checked:
    state, reason, was_asked = LinkState.OK, "", True
    try:
        downloads.check(source.url)
    except DownloadFailed as failure:
        state = LinkState.UNREACHABLE if failure.may_pass else LinkState.BROKEN
        reason, was_asked = str(failure), not isinstance(failure, HostLeftAlone)
    return Checked(source, state, reason, timezone.now(), was_asked)


def _write(found: list[Checked]) -> list[Checked]:
    """Write down what was found; return it without what was deleted meanwhile.

    What nobody was asked for is not written: the next run asks.
    """
    by_pk = {one.source.pk: one for one in found}
    with transaction.atomic():
        # Held until the commit, so that none of them is deleted before its row is there.
        there = Image.objects.filter(pk__in=by_pk).order_by("pk").select_for_update(no_key=True)
        kept = [by_pk[pk] for pk in there.values_list("pk", flat=True)]
        SourceLink.objects.bulk_create(
            [
                SourceLink(
                    image_id=one.source.pk,
                    url=one.source.url,
                    state=one.state,
                    reason=one.reason,
                    checked_at=one.at,
                )
                for one in kept
                if one.was_asked
            ],
            update_conflicts=True,
            unique_fields=["image"],
            update_fields=["url", "state", "reason", "checked_at"],
        )
    return kept
