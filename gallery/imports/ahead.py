"""Items of a run, read from the ledger before their turn.

One slow host must not have all the threads that download. So of each host only its share is under
way, and whatever of other hosts comes later in the list goes first.
"""

from __future__ import annotations

import re
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

from django.db.models import F, QuerySet

from gallery.imports.restarts import patient
from gallery.models import ImportItem, ImportRun, ItemState

CHUNK = 32  # items that are read at once
MOST_HELD = 500  # while their hosts have their share
# To look for items of other hosts behind these reads all of the list that waits. So after a look in
# vain the next one waits, and twice as long after each further one.
BEHIND_SECONDS = 1.0
BEHIND_SELDOM_SECONDS = 60.0
LOOK_SECONDS = 3.0  # between two looks at a ledger in which nothing waited


class Ahead:
    """The items that begin next, in the order of their listing, but for those of busy hosts."""

    def __init__(self, run: ImportRun, *, share: int) -> None:
        self._run = run
        self._share = share  # items of one host that may be opened at once
        self._held: deque[ImportItem] = deque()
        self._last_seen = 0  # primary key of the last item that was read
        self._in_vain: frozenset[str] = frozenset()  # the busy hosts behind which nothing was found
        self._behind_at = 0.0  # when to look behind them again
        self._behind_seconds = BEHIND_SECONDS
        self._look_at = 0.0  # when to look at all, where nothing waited

    def __len__(self) -> int:
        return len(self._held)

    def next(self, opening: Iterable[ImportItem], *, is_idle: bool) -> ImportItem | None:
        """Take the item that begins now; None where nothing waits but for a busy host.

        Those that were open when a process died come last and one by one, when all else is idle:
        the guilty one harms no neighbour.
        """
        if not self._held and time.monotonic() < self._look_at:
            return None
        busy = Counter(host_of(item) for item in opening if item.url)
        # What has no host that can be read is soon refused: it has nobody to wait for.
        full = {host for host, n in busy.items() if host and n >= self._share}
        item = self._take(full)
        while item is None and self._read(full, is_idle=is_idle):
            item = self._take(full)
        if item is not None and item.url:
            _count_attempts([item])
        return item

    def put_back(self, item: ImportItem) -> None:
        """Let it be the next one again. It must have no URL."""
        self._held.appendleft(item)

    def begin_anew(self) -> None:
        """Look from the beginning again: what waits may stand before what was read last."""
        self._last_seen = 0
        self.look_again()

    def look_again(self) -> None:
        """There may be something in the ledger now."""
        self._look_at = 0.0

    def untouched(self) -> Iterator[ImportItem]:
        """Yield what was counted as begun and was not."""
        return (item for item in self._held if not item.url)

    def _take(self, full: set[str]) -> ImportItem | None:
        for place, item in enumerate(self._held):
            if not item.url or host_of(item) not in full:
                del self._held[place]
                return item
        return None

    def _read(self, full: set[str], *, is_idle: bool) -> bool:
        """Read some items; return whether there were any."""
        waiting = self._run.items.filter(state=ItemState.WAITING).order_by("pk")
        held = [item.pk for item in self._held]
        fresh = waiting.filter(attempts=0).exclude(pk__in=held)
        if len(held) >= MOST_HELD:
            return self._look_past(fresh, full)
        following = fresh.filter(pk__gt=self._last_seen)[:CHUNK]
        items = patient(lambda: list(following))
        if items:
            self._last_seen = items[-1].pk
        elif self._last_seen:
            self.begin_anew()  # what came back meanwhile has lower keys
            return self._read(full, is_idle=is_idle)
        elif is_idle and not held:
            items = patient(lambda: list(waiting[:1]))
            # Only who retries from elsewhere brings something that we do not know of.
            self._look_at = 0.0 if items else time.monotonic() + LOOK_SECONDS
        return self._hold(items)

    def _look_past(self, fresh: QuerySet[ImportItem], full: set[str]) -> bool:
        now = time.monotonic()
        if self._in_vain and full >= self._in_vain and now < self._behind_at:
            return False
        hosts = "|".join(re.escape(host) for host in full)
        others = fresh.exclude(url__iregex=rf"^https?://([^/]*@)?({hosts})([/?#]|$)")[:CHUNK]
        read = patient(lambda: list(others))
        # Postgres does not read every odd URL as we do. To hold those that may not begin would
        # make the list of what is held, and each look, longer and longer.
        items = [item for item in read if host_of(item) not in full]
        if items:
            self._in_vain, self._behind_seconds = frozenset(), BEHIND_SECONDS
        else:
            self._in_vain, self._behind_at = frozenset(full), now + self._behind_seconds
            self._behind_seconds = min(2 * self._behind_seconds, BEHIND_SELDOM_SECONDS)
        return self._hold(items)

    def _hold(self, items: list[ImportItem]) -> bool:
        self._held.extend(items)
        _count_attempts([item for item in items if not item.url])
        return bool(items)


def host_of(item: ImportItem) -> str:
    """Return the host of an item's URL, with its port; "" where it has none."""
    try:
        return urlsplit(item.url).netloc.rpartition("@")[2].lower()
    except ValueError:
        return ""


def _count_attempts(items: list[ImportItem]) -> None:
    """Written down before they are opened, so that it is known after a death."""
    ids = [item.pk for item in items]
    if ids:
        touched = ImportItem.objects.filter(pk__in=ids)
        patient(lambda: touched.update(attempts=F("attempts") + 1))
