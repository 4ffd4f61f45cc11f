"""Lists a source into the ledger: read ahead on a thread, written in batches.

Listing anew after a crash adds what is missing and changes nothing else. What the owner has from
an earlier run of the same place, in the same version, is told by the same statement: a folder of
100,000 is known again without opening a file.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections import Counter, deque
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any

from django.db import connection, connections

from gallery import texts
from gallery.errors import GalleryError
from gallery.importers import Item, Skipped, Source, SourceUnreadable
from gallery.models import ImportRun, ItemState

BATCH = 1000
BATCH_CHARACTERS = 4_000_000  # or a little more
MAX_ABOUT_BYTES = 500_000  # what is said of an item waits in the ledger
MAX_VERSION = 200
WAIT_SECONDS = 0.2

log = logging.getLogger(__name__)

# A changed version of what is not in the gallery yet is taken; what the run has brought stays.
_LIST = """
WITH listed AS MATERIALIZED (
    SELECT * FROM unnest(%(key)s::text[], %(name)s::text[], %(version)s::text[], %(url)s::text[],
        %(about)s::text[], %(state)s::text[], %(reason)s::text[])
        AS row (key, name, version, url, about, state, reason)
), ours AS MATERIALIZED (  -- who was taken for dead, and was only asleep, writes nothing any more
    SELECT id FROM gallery_importrun
    WHERE id = %(run)s AND lease_token IS NOT DISTINCT FROM %(token)s::uuid FOR SHARE
)
INSERT INTO gallery_importitem AS item
    (run_id, key, name, version, url, about, state, reason, attempts, image_id, changed_at)
SELECT ours.id, listed.key, name, version, url,
    CASE WHEN known.image_id IS NULL THEN about::jsonb ELSE '{}' END,
    CASE WHEN known.image_id IS NULL THEN state ELSE 'held' END,
    reason, 0, known.image_id, now()
FROM ours, listed LEFT JOIN LATERAL (
    SELECT earlier.image_id FROM gallery_importitem earlier
    WHERE md5(earlier.key) = md5(listed.key) AND earlier.version = listed.version
      AND earlier.image_id IS NOT NULL AND earlier.key = listed.key
      AND listed.version <> '' AND listed.state = 'waiting'
      AND earlier.run_id = ANY (ARRAY(  -- read once, however many nightly runs there were
        SELECT id FROM gallery_importrun
        WHERE owner_id = %(owner)s AND place = %(place)s AND id <> %(run)s))
      -- The original may be lost where it is known to lie, and this be the same file, moved back.
      AND NOT (%(in_place)s AND EXISTS (
        SELECT FROM gallery_reference r WHERE r.image_id = earlier.image_id
          AND (r.key, r.version) <> (listed.key, listed.version)))
    LIMIT 1
) known ON true
ON CONFLICT (run_id, md5(key)) DO UPDATE SET
    version = excluded.version, name = excluded.name, url = excluded.url, about = excluded.about,
    state = excluded.state, reason = excluded.reason, image_id = excluded.image_id,
    attempts = 0, changed_at = now()
WHERE item.version <> excluded.version AND item.state NOT IN ('new', 'undone')
RETURNING state, xmax = 0
"""


@dataclass(frozen=True, kw_only=True)
class Row:
    """An item as the ledger can hold it."""

    key: str
    name: str
    version: str = ""
    url: str = ""
    about: str = "{}"
    state: str = ItemState.WAITING
    reason: str = ""

    @property
    def characters(self) -> int:
        return len(self.key) + len(self.url) + len(self.about) + len(self.reason)


class _Ahead:
    """Rows that are read and not taken: some, and no more than memory has room for."""

    def __init__(self) -> None:
        self._rows: deque[Row] = deque()
        self._characters = 0
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return len(self._rows)

    def put(self, row: Row, *, seconds: float) -> bool:
        """Return whether there was room in so long."""
        with self._changed:
            if not self._changed.wait_for(self._has_room, timeout=seconds):
                return False
            self._rows.append(row)
            self._characters += row.characters
            self._changed.notify_all()
        return True

    def take(self, *, seconds: float) -> list[Row]:
        """Return a batch at most, after waiting so long for a first one."""
        taken: list[Row] = []
        characters = 0
        with self._changed:
            self._changed.wait_for(self.__len__, timeout=seconds)
            while self._rows and len(taken) < BATCH and characters < BATCH_CHARACTERS:
                taken.append(self._rows.popleft())
                characters += taken[-1].characters
            self._characters -= characters
            self._changed.notify_all()
        return taken

    def _has_room(self) -> bool:
        return len(self._rows) < 2 * BATCH and self._characters < 2 * BATCH_CHARACTERS


class Reader:
    """Reads a source on a thread of its own, a bounded number of rows ahead.

    A source that has nothing to say for an hour, or never ends, holds nobody up. With `most`, one
    that lists more than so many entries fails.
    """

    def __init__(self, source: Source, *, most: int | None = None) -> None:
        self._source, self._most = source, most
        self._ahead = _Ahead()
        self._failure: BaseException | None = None
        self._is_ended = threading.Event()
        self._is_stopped = threading.Event()
        self._begin()

    def _begin(self) -> None:
        """Read the source from its beginning. Not while it is being read."""
        self._failure, self._is_told = None, False
        self._is_ended.clear()
        # A daemon: one that waits for a file to change would keep the process from ending.
        self._thread = threading.Thread(target=self._read, name="import listing", daemon=True)
        self._thread.start()

    @property
    def is_over(self) -> bool:
        """Whether all there is has been taken. A source that failed is never over."""
        return self._is_empty and self._failure is None

    @property
    def _is_empty(self) -> bool:
        return self._is_ended.is_set() and not len(self._ahead)

    def take(self, *, seconds: float) -> list[Row]:
        """Return what has been read, a batch at most, after waiting so long for a first item.

        Raise what the source raised, when all before that is taken. Asked again after that, it
        begins anew.
        """
        if self._is_told:
            self._begin()
        taken = self._ahead.take(seconds=seconds)
        if not taken and self._is_empty and self._failure is not None:
            self._is_told = True
            raise self._failure
        return taken

    def stop(self) -> None:
        self._is_stopped.set()
        self._source.stop()
        self._thread.join(timeout=1)

    def _read(self) -> None:
        with ExitStack() as ending:
            ending.callback(self._is_ended.set)
            ending.callback(connections.close_all)
            ending.push(self._fail)
            for number, item in enumerate(self._source.items(), start=1):
                if self._most is not None and number > self._most:
                    raise SourceUnreadable(
                        f"What was sent lists more than {self._most:,} entries: split it, or raise "
                        "IMPORT_UPLOAD_ITEMS."
                    )
                if not self._put(row_of(item)):
                    return

    def _fail(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        """Keep what was raised for `take`, which raises it on the thread that asks."""
        if isinstance(error, SourceUnreadable | GalleryError):
            self._failure = error
        elif isinstance(error, Exception):
            # Sources read strangers' files with strangers' libraries, which raise what they like:
            # whatever it is, it would come again for ever, so the run ends with it.
            log.error("The source %s cannot be read", self._source.kind, exc_info=error)
            self._failure = SourceUnreadable(
                f"The source cannot be read: {_sentence(error)}; the server's log tells more."
            )
        return self._failure is not None

    def _put(self, row: Row) -> bool:
        """Wait for room; return whether more is wanted."""
        while not self._is_stopped.is_set():
            if self._ahead.put(row, seconds=WAIT_SECONDS):
                return True
        return False


def _sentence(error: Exception) -> str:
    """Return what has happened, in words that hold no path of the server."""
    return (isinstance(error, OSError) and error.strerror) or type(error).__name__


def write(run: ImportRun, rows: list[Row]) -> Counter[str] | None:
    """Write a batch into the ledger. Return how many new rows are in which state.

    None: rows that were there have changed, so that the run must be counted anew. Nothing is
    written where the run is leased to another process by now.
    """
    columns = _columns(rows)
    with connection.cursor() as cursor:
        about_run: dict[str, Any] = {
            "run": run.pk,
            "token": run.lease_token,
            "owner": run.owner_id,
            "place": run.place,
            "in_place": bool(run.options.get("in_place")),
        }
        cursor.execute(_LIST, {**columns, **about_run})
        written = cursor.fetchall()
    if not all(is_new for _, is_new in written):
        return None
    return Counter(state for state, _ in written)


def _columns(rows: list[Row]) -> dict[str, list[str]]:
    # One statement may not write a row twice; the first of two that are called the same counts.
    row_by_key: dict[str, Row] = {}
    for row in rows:
        row_by_key.setdefault(row.key, row)
    fields = [asdict(row) for row in row_by_key.values()]
    return {name: [row[name] for row in fields] for name in Row.__dataclass_fields__}


def row_of(item: Item | Skipped) -> Row:
    """Return the ledger's row; what it cannot hold becomes a failed one that says why."""
    key = _storable(item.key)
    if isinstance(item, Skipped):
        return Row(
            key=key,
            name=texts.file_name(item.key),
            state=ItemState.SKIPPED,
            reason=texts.printable(item.reason)[:1000],
        )
    name = texts.file_name(item.name)
    if key != item.key or item.url != _storable(item.url):
        # It could not be opened by a name that is not its own.
        return _failed(key, name, "Its name is not valid text (UTF-8 without NUL): rename it.")
    problem, about = _written(item)
    if problem:
        return _failed(key, name, problem)
    return Row(key=key, name=name, version=_version(item.version), url=item.url, about=about)


def _failed(key: str, name: str, reason: str) -> Row:
    return Row(key=key, name=name, state=ItemState.FAILED, reason=reason)


def _written(item: Item) -> tuple[str, str]:
    """Return a problem, or what is said about the item as JSON that Postgres takes."""
    try:
        about = json.dumps(item.about.to_json(), allow_nan=False, ensure_ascii=False)
        size = len(about.encode())
    except (TypeError, ValueError, RecursionError):
        return "What is said about it cannot be written as JSON.", ""
    if texts.holds_nul(about):
        return "What is said about it holds a NUL character.", ""
    if size > MAX_ABOUT_BYTES:
        return f"What is said about it has {size:,} bytes; {MAX_ABOUT_BYTES:,} are allowed.", ""
    return "", about


def _version(version: str) -> str:
    if len(version) <= MAX_VERSION and version == _storable(version):
        return version
    return hashlib.sha256(version.encode(errors="surrogatepass")).hexdigest()


def _storable(text: str) -> str:
    """Return the text as Postgres can hold it: bytes that are no UTF-8 and NUL are spelled out."""
    return text.encode(errors="backslashreplace").decode().replace("\x00", "\\x00")
