"""The two statements behind every answer: which candidates stand, and the exact answer.

Written by hand: Django needs longer to write such a statement than Postgres to execute it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from django.db import connection

from embeddings.indexes.contract import Candidates
from embeddings.models import AbstractEmbedding, Space
from embeddings.streams import halfvec_text
from embeddings.subqueries import Subquery
from embeddings.vectors import Ids, Vector

PACKED_FROM = 256  # rows: from there on one packed value is read sooner than rows

_ROW = np.dtype([("id", ">i8"), ("score", ">f4")])


@dataclass(frozen=True)
class Statements:
    """What Postgres is asked about one query in one vector table."""

    model: type[AbstractEmbedding]
    space: Space
    vector: Vector  # (dimensions,), rounded to float16
    filter: Subquery | None

    def standing(self, candidates: Candidates, *, scored: bool) -> Candidates:
        """Return those of the candidates that are there and pass the filter.

        `scored`: their scores are right already, to float32. Else Postgres computes them, which
        costs as much again for few candidates and more for many (it reads the vectors).
        """
        condition, parameters = self._among(candidates.ids)
        if not scored:
            return self._scored(condition, parameters, "", len(candidates.ids))
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT string_agg(int8send({self._subject}::int8), '') {self._from}{condition}",
                parameters,
            )
            packed = cursor.fetchone()[0]
        stays = np.isin(candidates.ids, np.frombuffer(packed or b"", dtype=">i8").astype(np.int64))
        return Candidates(candidates.ids[stays], candidates.scores[stays])

    def best(self, k: int, among: Ids | None = None) -> Candidates:
        """Return the k best of all that pass, by comparing with each of them.

        `among`: the ids of all that pass, where they are known; the filter is then asked of these
        alone.
        """
        if among is not None:
            condition, parameters = self._among(among)
        else:
            condition = self.filter.condition(self._subject) if self.filter else ""
            parameters = [*self.filter.parameters] if self.filter else []
        return self._scored(condition, parameters, f" ORDER BY 2 DESC, 1 LIMIT {k:d}", k)

    def _among(self, ids: Ids) -> tuple[str, list[Any]]:
        """Return the condition that a subject is one of some and passes, and its parameters."""
        text = "{" + ",".join(map(str, ids.tolist())) + "}"
        condition, parameters = f" AND {self._subject} = ANY(%s::bigint[])", [text]
        if self.filter is not None:
            condition += self.filter.condition(self._subject, "id = ANY(%s::bigint[])")
            parameters += [*self.filter.parameters, text]
        return condition, parameters

    def _scored(self, condition: str, parameters: list[Any], tail: str, at_most: int) -> Candidates:
        statement = (
            f"SELECT {self._subject}, -(vector <#> %s::halfvec) {self._from}{condition}{tail}"
        )
        if at_most >= PACKED_FROM:
            statement = (
                "SELECT string_agg(int8send(id::int8) || float4send(score::float4), '') "
                f"FROM ({statement}) AS found (id, score)"
            )
        with connection.cursor() as cursor:
            cursor.execute(statement, [self._vector_text, *parameters])
            rows = cursor.fetchall()
        if at_most >= PACKED_FROM:
            packed = np.frombuffer(rows[0][0] or b"", dtype=_ROW)
            return Candidates(packed["id"].astype(np.int64), packed["score"].astype(np.float32))
        return Candidates(
            np.array([row[0] for row in rows], dtype=np.int64),
            np.array([row[1] for row in rows], dtype=np.float32),
        )

    @cached_property
    def _vector_text(self) -> str:
        return halfvec_text(self.vector)

    @cached_property
    def _from(self) -> str:
        table = connection.ops.quote_name(self.model._meta.db_table)
        return f"FROM {table} WHERE space_id = {self.space.pk:d}"

    @cached_property
    def _subject(self) -> str:
        return str(connection.ops.quote_name(self.model.subject_field().column))
