"""Tables joined by a key, in constant memory: what does not fit lies in a file without a name."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from itertools import groupby, islice
from operator import itemgetter
from types import TracebackType
from typing import Any, Self

from gallery.importers import SourceUnreadable

_CACHE_KIBIBYTES = 2**16
_IN_ONE_ROW = 1000  # values of one key that are held together
# Of one key: beyond what any image has, and no more than may be held in memory.
MOST_OF_ONE = 10_000
MOST_CHARACTERS_OF_ONE = 2_000_000


class _Temporary:
    """A database that SQLite keeps in a file of its own and that is gone when it is closed."""

    def __init__(self) -> None:
        # A generator that holds one may be continued by another thread, though never by two.
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._database.execute(f"PRAGMA cache_size = -{_CACHE_KIBIBYTES}")
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("BEGIN")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._database.close()
        if isinstance(error, sqlite3.OperationalError):
            raise SourceUnreadable(
                f"The folder for temporary files cannot be used: {error}. Make room in it."
            ) from error


class Gathered(_Temporary):
    """Values by key. First all are added, then asked for."""

    def __init__(self) -> None:
        super().__init__()
        self._database.execute("CREATE TABLE gathered (key TEXT NOT NULL, found TEXT NOT NULL)")
        self._is_indexed = False

    def add(self, pairs: Iterable[tuple[str, Any]]) -> None:
        """Add pairs of key and value, which JSON can hold; neighbours of one key cost one row."""
        self._database.executemany(
            "INSERT INTO gathered VALUES (?, ?)",
            (
                (_storable(key), json.dumps([value for _, value in piece]))
                for key, group in groupby(pairs, key=itemgetter(0))
                for piece in _pieces(group)
            ),
        )

    def of(self, key: str) -> Iterator[Any]:
        """Yield what was added under the key, in order: the first MOST_OF_ONE, if not too long."""
        if not self._is_indexed:
            self._database.execute("CREATE INDEX by_key ON gathered (key)")
            self._is_indexed = True
        rows = self._database.execute(
            "SELECT found FROM gathered WHERE key = ? ORDER BY rowid", (_storable(key),)
        )
        values = characters = 0
        for (found,) in rows:
            if characters > MOST_CHARACTERS_OF_ONE:
                return
            characters += len(found)
            for value in json.loads(found):
                values += 1
                if values > MOST_OF_ONE:
                    return
                yield value


def _pieces(group: Iterator[tuple[str, Any]]) -> Iterator[list[tuple[str, Any]]]:
    while piece := list(islice(group, _IN_ONE_ROW)):
        yield piece


class Seen(_Temporary):
    """Keys that have come by."""

    def __init__(self) -> None:
        super().__init__()
        self._database.execute("CREATE TABLE seen (key BLOB PRIMARY KEY) WITHOUT ROWID")

    def is_new(self, key: str) -> bool:
        """Say whether the key comes by for the first time."""
        cursor = self._database.execute(
            "INSERT OR IGNORE INTO seen VALUES (?)", (self._short(key),)
        )
        return cursor.rowcount == 1

    def __contains__(self, key: str) -> bool:
        rows = self._database.execute("SELECT 1 FROM seen WHERE key = ?", (self._short(key),))
        return rows.fetchone() is not None

    @staticmethod
    def _short(key: str) -> bytes:
        return blake2b(key.encode(errors="surrogatepass"), digest_size=16).digest()


def _storable(key: str) -> str:
    return key.encode(errors="backslashreplace").decode()
