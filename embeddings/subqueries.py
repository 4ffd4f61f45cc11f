"""A queryset as a condition: the one SELECT of ids that every statement of a search repeats."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import cached_property
from types import NoneType
from typing import Any
from uuid import UUID

from django.core.exceptions import FieldError
from django.db import NotSupportedError, connection, models
from django.db.backends.postgresql.psycopg_any import mogrify
from django.db.models import QuerySet

from embeddings.streams import ids_statement

_PLAIN = (int, bool, float, NoneType, Decimal, UUID, datetime, date, timedelta)


@dataclass(frozen=True)
class Subquery:
    """SQL that selects the ids of the subjects that pass, once each or more, and its parameters."""

    sql: str
    parameters: tuple[Any, ...]

    @classmethod
    def of(cls, queryset: QuerySet[Any], subject: type[models.Model]) -> Subquery:
        """Raise TypeError, with a sentence, for what cannot be a filter of these subjects."""
        if not isinstance(queryset, QuerySet):
            raise TypeError(
                f"within= takes a queryset of {subject.__name__}, not {type(queryset).__name__}."
            )
        if not issubclass(queryset.model, subject._meta.concrete_model or subject):
            raise TypeError(
                f"within= takes a queryset of {subject.__name__}; this one is of "
                f"{queryset.model.__name__}."
            )
        given = queryset._db  # type: ignore[attr-defined]  # the stubs know only db, routed
        if given not in (None, connection.alias):
            raise TypeError(f"within= cannot read another database: leave out using({given!r}).")
        query = queryset.query
        if query.select_for_update:
            raise TypeError("within= cannot lock rows: leave out select_for_update().")
        if isinstance(query.group_by, tuple):
            raise TypeError(
                f"within= takes a queryset of {subject.__name__}; this one is grouped by other "
                "columns, as values().annotate() does."
            )
        if query.is_sliced or query.distinct_fields:
            # Its order decides which rows it holds; as a subquery it keeps it.
            queryset = subject._base_manager.filter(pk__in=queryset.values("pk"))
        try:
            return cls(*ids_statement(queryset))
        except (FieldError, NotSupportedError) as error:
            raise TypeError(f"within= is no filter: {error}") from error

    @cached_property
    def text(self) -> str:
        """The statement and its parameters: equal texts are equal conditions."""
        written = [_written(value) for value in self.parameters]
        if None in written:
            # Such as JSON, which has no faithful repr: the driver writes it out.
            return mogrify(self.sql, self.parameters, connection)
        return f"{self.sql} {written}"

    def condition(self, column: str, candidates: str = "") -> str:
        """Return ` AND column IN (...)`, `candidates` being SQL that says of `id` what is asked.

        Postgres moves that into the SELECT where it may, and looks at a few rows only.
        """
        where = f" WHERE {candidates}" if candidates else ""
        return f" AND {column} IN (SELECT id FROM ({self.sql}) AS passing (id){where})"


def _written(value: object) -> str | None:
    """Return a parameter so that no other one is written alike, or None where that is unsure."""
    if isinstance(value, str):
        return str.__repr__(value)  # members of an enumeration too are sent as what they hold
    return repr(value) if type(value) in _PLAIN else None
