"""Sets of the ids that a filter leaves, remembered until a table that the filter reads is touched.

A remembered set never makes an answer wrong: before each use Postgres says whether any of its
tables was written to since, and what cannot be judged so is not remembered.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from django.conf import settings
from django.db import connection

from embeddings import touches
from embeddings.indexes.contract import IdSet
from embeddings.subqueries import Subquery
from embeddings.touches import TouchPosition
from embeddings.vectors import Ids

LONGEST_TEXT = 100_000  # of a filter that is remembered, in characters
MOST_SETS = 1000  # small ones too take memory beside their ids, and time to count

# Marked STABLE, though all they read beside their arguments is the time zone or the text search
# configuration of the session, which belong to a position's identity.
_LASTING = {
    "concat", "concat_ws", "date_part", "date_trunc", "extract", "jsonb_build_array",
    "jsonb_build_object", "phraseto_tsquery", "plainto_tsquery", "timezone", "to_char", "to_json",
    "to_jsonb", "to_tsquery", "to_tsvector", "websearch_to_tsquery",
}  # fmt: skip
_FLEETING = {
    "current_catalog", "current_date", "current_role", "current_schema", "current_time",
    "current_timestamp", "current_user", "localtime", "localtimestamp", "session_user",
    "system_user", "user",
}  # fmt: skip
# A date may be written so, and means another one tomorrow.
_FLEETING_TEXT = re.compile(r"\b(now|today|tomorrow|yesterday)\b", re.IGNORECASE)
# A name, quoted or bare, and what follows it where that tells what it is the name of.
_NAME = re.compile(r'(?:"((?:[^"]|"")+)"|([^\W\d][\w$]*))\s*([(.])?')

# Of all names in a statement: those of tables as the search path finds them, and whether a schema
# is named, or a function that may answer differently from call to call.
_NAMED = """
SELECT ARRAY(SELECT DISTINCT name FROM unnest(%(names)s::text[]) AS named (name)
             JOIN pg_class c ON c.oid = to_regclass(quote_ident(name))
             WHERE c.relkind IN ('r', 'v', 'm', 'f', 'p')),
    EXISTS (SELECT FROM pg_namespace WHERE nspname = ANY(%(qualifiers)s::text[]))
    OR EXISTS (SELECT FROM pg_proc WHERE proname = ANY(%(called)s::text[]) AND provolatile <> 'i'
               AND proname <> ALL(%(lasting)s::text[]))
"""


class RememberedIds(IdSet):
    """An IdSet that knows its size in memory."""

    @property
    def nbytes(self) -> int:
        masks = [mask.nbytes for _, mask in list(self._masks.values())]
        return int(self.ids.nbytes) + sum(masks)


@dataclass(frozen=True)
class _Entry:
    tables: tuple[str, ...]
    position: TouchPosition
    ids: RememberedIds


@dataclass(frozen=True)
class Place:
    """What a look at the memory gave: the set if it is good, and what keeping a new one takes."""

    ids: IdSet | None
    tables: tuple[str, ...]
    position: TouchPosition | None  # None: this filter is not to be remembered


NOWHERE = Place(None, (), None)


class IdSets:
    """The sets of this process: those used last, up to a number of them and of bytes."""

    def __init__(self) -> None:
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def look(self, filter_: Subquery) -> Place:
        """Return the remembered set of a filter, if it holds now; else a place for a new one.

        The caller reads the new set after this, and gives it to keep().
        """
        if not _fits(filter_):
            return NOWHERE
        with self._lock:
            entry = self._entries.get(filter_.text)
        if entry is not None:
            here, holds = touches.position_since(entry.tables, entry.position)
            if holds:
                with self._lock:
                    if filter_.text in self._entries:
                        self._entries.move_to_end(filter_.text)
                return Place(entry.ids, entry.tables, here)
            return Place(None, entry.tables, here)
        tables = tables_read(filter_.sql)
        if tables is None:
            return NOWHERE
        return Place(None, tables, touches.position(tables))

    def keep(self, filter_: Subquery, place: Place, ids: Ids) -> IdSet:
        """Remember a set that was read after its place was looked up, and return it."""
        found = RememberedIds(ids)
        if place.position is not None:
            with self._lock:
                self._entries[filter_.text] = _Entry(place.tables, place.position, found)
                self._entries.move_to_end(filter_.text)
                self._shrink()
        return found

    def forget_all(self) -> None:
        with self._lock:
            self._entries.clear()

    def _shrink(self) -> None:
        most = settings.INDEX_FILTER_CACHE_MEGABYTES * 10**6
        # Counted anew each time: the sets grow by masks while they are used.
        total = sum(len(text) + entry.ids.nbytes for text, entry in self._entries.items())
        while self._entries and (total > most or len(self._entries) > MOST_SETS):
            text, entry = self._entries.popitem(last=False)
            total -= len(text) + entry.ids.nbytes


id_sets = IdSets()


def read(filter_: Subquery) -> Ids:
    """Return the ids that a filter leaves, ascending, once each."""
    return np.unique(_packed_ids(filter_, ""))


def read_few(filter_: Subquery, most: int) -> Ids | None:
    """Return the ids that a filter leaves if it gives at most so many, else None."""
    ids = _packed_ids(filter_, f" LIMIT {most + 1:d}")
    return np.unique(ids) if len(ids) <= most else None


def _packed_ids(filter_: Subquery, limit: str) -> Ids:
    with connection.cursor() as cursor:
        # One value, packed: see streams.read_ids().
        cursor.execute(
            "SELECT string_agg(int8send(id::int8), '') FROM "
            f"(SELECT id FROM ({filter_.sql}) AS passing (id){limit}) AS taken",
            filter_.parameters,
        )
        packed = cursor.fetchone()[0]
    return np.frombuffer(packed or b"", dtype=">i8").astype(np.int64)


@lru_cache(maxsize=256)
def tables_read(sql: str) -> tuple[str, ...] | None:
    """Return the tables that a statement may read; None when it must not be remembered.

    Judged by its text: it cannot read a table without naming it. A column that is named like a
    table counts as one, which costs at most memory of this filter.
    """
    if "U&" in sql.upper():
        return None  # a name written in code points
    names, called, qualifiers = set(), set(), set()
    for found in _NAME.finditer(sql):
        quoted, bare, _ = found.groups()
        name = quoted.replace('""', '"') if quoted else bare.lower()
        if bare and name in _FLEETING:
            return None
        names.add(name)
        if found[3] == "(":
            called.add(name)
        elif found[3] == ".":
            qualifiers.add(name)
    with connection.cursor() as cursor:
        cursor.execute(
            _NAMED,
            {
                "names": list(names),
                "qualifiers": list(qualifiers),
                "called": list(called),
                "lasting": list(_LASTING),
            },
        )
        tables, is_fleeting = cursor.fetchone()
    return None if is_fleeting else tuple(sorted(tables))


def _fits(filter_: Subquery) -> bool:
    text = filter_.text
    return len(text) <= LONGEST_TEXT and not _FLEETING_TEXT.search(text)
