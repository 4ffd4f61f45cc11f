"""The queue of record: jobs in Postgres, claimed by lease, finished in one statement.

A message may come twice or never and a worker may die at any line: the row stays until its vector
is written. Jobs that have failed before are claimed one by one, so that a subject which kills its
worker harms no neighbour.

No statement on many jobs waits for another's lock while it holds one: what somebody is just
changing or deleting is left out (SKIP LOCKED), and comes again if it is still there.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import QuerySet

from embeddings.errors import VectorInvalid
from embeddings.models import AbstractEmbedding, AbstractEmbeddingJob, Space
from embeddings.streams import array_cursor, float_array
from embeddings.vectors import Vectors, normalise

BACK_OFF_SECONDS = 5  # doubled with each attempt
PUT_OFF_SECONDS = 15  # for a storage that is away

# A time from further ahead than any is set was written before the clock was set back.
_FREE = "(lease_until IS NULL OR lease_until < now() OR lease_until > now() + 2 * %(lease)s)"
_DUE = f"""failed_at IS NULL AND space_id = %(space)s AND {_FREE}
      AND (not_before IS NULL OR not_before <= now()
           OR not_before > now() + %(put_off)s + %(back_off)s * power(2, attempts))"""

_CLAIM = """
WITH due AS MATERIALIZED (
    SELECT id FROM {jobs} WHERE {due} AND {attempts}
    ORDER BY id LIMIT %(n)s FOR UPDATE SKIP LOCKED
)
UPDATE {jobs} j SET lease_token = %(token)s, lease_until = now() + %(lease)s,
    attempts = attempts + 1
FROM due WHERE j.id = due.id
RETURNING j.{subject}
"""

# One statement: no state in which a job is gone and its vector is not there, or the reverse.
# A job whose lease went to another worker, or whose subject was deleted, is not in `done`. The
# subjects are locked first, as whoever deletes them does. The jobs are found by their subjects: of
# tokens there is no index. Postgres expects one job of a lease, and would loop over both sides but
# for IS TRUE: slow for a thousand.
_FINISH = """
WITH there AS MATERIALIZED (
    SELECT {key} AS id FROM {target} WHERE {key} = ANY(%(subjects)s::bigint[])
    FOR KEY SHARE SKIP LOCKED
), ours AS MATERIALIZED (
    SELECT id FROM {jobs}
    WHERE lease_token = %(token)s AND {subject} = ANY(%(subjects)s::bigint[])
        AND ({subject} IN (SELECT id FROM there)) IS TRUE
    FOR UPDATE SKIP LOCKED
), done AS (
    DELETE FROM {jobs} j USING ours WHERE j.id = ours.id
    RETURNING j.{subject}, j.space_id
)
INSERT INTO {vectors} ({subject}, space_id, vector)
SELECT done.{subject}, done.space_id,
    (%(numbers)s)[(new.place - 1) * %(width)s + 1 : new.place * %(width)s]::halfvec
FROM done JOIN unnest(%(subjects)s::bigint[]) WITH ORDINALITY AS new (id, place)
  ON new.id = done.{subject}
ON CONFLICT ({subject}, space_id)
DO UPDATE SET vector = excluded.vector, embedded_at = now()
RETURNING {subject}
"""

_FAIL = """
UPDATE {jobs} SET last_error = %(reason)s, lease_token = NULL, lease_until = NULL,
    failed_at = CASE WHEN attempts >= %(most)s OR %(is_final)s THEN now() END,
    not_before = now() + %(back_off)s * power(2, attempts - 1)
WHERE lease_token = %(token)s AND {subject} = %(id)s
RETURNING failed_at IS NOT NULL
"""

_PUT_OFF = """
UPDATE {jobs} SET last_error = %(reason)s, lease_token = NULL, lease_until = NULL,
    attempts = greatest(attempts - 1, 0), not_before = now() + %(put_off)s
WHERE lease_token = %(token)s AND {subject} = %(id)s
RETURNING id
"""

# What has failed with a reason was tried, and not only lost with its worker.
_ONLY_DIED = "(last_error = '' OR last_error LIKE 'Its worker died%%')"

_PARK_LOST = """
WITH lost AS MATERIALIZED (
    SELECT id FROM {jobs}
    WHERE failed_at IS NULL AND lease_until IS NOT NULL AND {free}
      AND attempts >= CASE WHEN {only_died} THEN %(most)s ELSE %(most_of_failed)s END
    FOR UPDATE SKIP LOCKED
)
UPDATE {jobs} j SET failed_at = now(), lease_token = NULL, lease_until = NULL, last_error = CASE
    WHEN {only_died} THEN 'Its worker died ' || attempts || ' times while it was embedded.'
    ELSE 'Its worker died while it was embedded, at try ' || attempts || '. Before: ' || last_error
    END
FROM lost WHERE j.id = lost.id
RETURNING j.{subject}
"""

_OF_LEASE = """
WITH ours AS MATERIALIZED (
    SELECT id FROM {jobs}
    WHERE lease_token = %(token)s AND {subject} = ANY(%(subjects)s::bigint[])
    FOR UPDATE SKIP LOCKED
)
UPDATE {jobs} j SET {change} FROM ours WHERE j.id = ours.id RETURNING j.id
"""

_DROP_RETIRED = """
WITH retired AS MATERIALIZED (
    SELECT j.id FROM {jobs} j JOIN {spaces} s ON s.id = j.space_id WHERE s.state = %(state)s
    FOR UPDATE OF j SKIP LOCKED
)
DELETE FROM {jobs} j USING retired WHERE j.id = retired.id RETURNING j.id
"""


@dataclass(frozen=True)
class Lease:
    """Subjects that are this worker's for some time, and nobody else's."""

    token: uuid.UUID
    space: Space
    subjects: tuple[int, ...]  # primary keys
    is_retry: bool = False  # one that failed before, or whose worker died


@dataclass(frozen=True)
class Queue:
    """The jobs of one vector table."""

    jobs: type[AbstractEmbeddingJob]
    vectors: type[AbstractEmbedding]

    def add(self, subjects: Sequence[int], space: Space) -> int:
        """Queue subjects for a space; those already queued or gone are left. Return how many."""
        return self._execute(
            "INSERT INTO {jobs} ({subject}, space_id) "
            "SELECT {key}, %(space)s FROM {target} WHERE {key} = ANY(%(subjects)s) "
            "ORDER BY {key} FOR KEY SHARE SKIP LOCKED "
            "ON CONFLICT ({subject}, space_id) DO NOTHING RETURNING id",
            space=space.pk,
            subjects=list(subjects),
        )[1]

    def claim(self, space: Space, n: int) -> Lease | None:
        """Take up to n fresh jobs, else one that failed before; None when nothing is due."""
        return self.claim_fresh(space, n) or self._claim(space, 1, is_retry=True)

    def claim_fresh(self, space: Space, n: int) -> Lease | None:
        """Take up to n jobs that were never tried; None when none is due."""
        return self._claim(space, n, is_retry=False)

    def _claim(self, space: Space, n: int, *, is_retry: bool) -> Lease | None:
        token = uuid.uuid4()
        rows, _ = self._execute(
            _CLAIM.replace("{attempts}", "attempts > 0" if is_retry else "attempts = 0"),
            token=token,
            space=space.pk,
            n=n,
        )
        if not rows:
            return None
        return Lease(token, space, tuple(sorted(row[0] for row in rows)), is_retry)

    def extend(self, lease: Lease) -> None:
        """Begin the lease's time anew; called between the steps of a long batch."""
        self._change(lease, "lease_until = now() + %(lease)s")

    def finish(self, lease: Lease, subjects: Sequence[int], vectors: Vectors) -> list[int]:
        """Write the vectors (n, dimensions) of subjects and end their jobs, both or neither.

        Return the subjects that were still ours. Raise VectorInvalid, and write nothing, when a
        vector is zero, not finite, or not as wide as the space.
        """
        if vectors.shape != (len(subjects), lease.space.dimensions):
            raise VectorInvalid(
                f"{lease.space} has {lease.space.dimensions} dimensions and {len(subjects)} "
                f"vectors were due; the encoder gave an array of {vectors.shape}."
            )
        with array_cursor() as cursor:
            cursor.execute(
                self._named(_FINISH),
                {
                    "token": lease.token,
                    "subjects": list(subjects),
                    "numbers": float_array(normalise(vectors)),
                    "width": lease.space.dimensions,
                },
            )
            return [row[0] for row in cursor]

    def fail(
        self,
        lease: Lease,
        subject: int,
        reason: str,
        *,
        is_final: bool = False,
        tries: int | None = None,
    ) -> bool:
        """Give a job back with a reason, to be tried later; parked if final or tried enough.

        `tries`: how often is enough, JOB_MAX_ATTEMPTS by default; the pauses double from one to
        the next. Return whether it is parked now.
        """
        rows, _ = self._execute(
            _FAIL,
            reason=reason.replace("\x00", ""),
            most=settings.JOB_MAX_ATTEMPTS if tries is None else tries,
            is_final=is_final,
            token=lease.token,
            id=subject,
        )
        return bool(rows and rows[0][0])

    def put_off(self, lease: Lease, subject: int, reason: str) -> None:
        """Give a job back that is not at fault: it is tried later, and this try does not count."""
        self._execute(
            _PUT_OFF,
            reason=reason.replace("\x00", ""),
            token=lease.token,
            id=subject,
        )

    def give_back(self, lease: Lease) -> None:
        """Return what is left of a lease as if it had not been tried: the worker is ending."""
        self._change(
            lease, "lease_token = NULL, lease_until = NULL, attempts = greatest(attempts - 1, 0)"
        )

    def park_lost(self, *, tries_of_failed: int = 0) -> list[int]:
        """Park jobs whose worker died each time they were tried; return their subjects.

        One that has failed with a reason is parked after so many tries, by a death or not:
        JOB_MAX_ATTEMPTS, where that is more.
        """
        most = settings.JOB_MAX_ATTEMPTS
        rows, _ = self._execute(_PARK_LOST, most=most, most_of_failed=max(most, tries_of_failed))
        return [row[0] for row in rows]

    def drop_retired(self) -> int:
        """Remove the jobs of spaces that are no longer in use. Return how many."""
        return self._execute(_DROP_RETIRED, state=Space.State.RETIRED)[1]

    def add_missing(self, space: Space) -> int:
        """Queue every subject that has neither vector nor job in a space. Return how many."""
        return self._execute(
            "INSERT INTO {jobs} ({subject}, space_id) "
            "SELECT s.{key}, %(space)s FROM {target} s WHERE NOT EXISTS "
            "(SELECT FROM {jobs} j WHERE j.{subject} = s.{key} AND j.space_id = %(space)s) "
            "AND NOT EXISTS "
            "(SELECT FROM {vectors} v WHERE v.{subject} = s.{key} AND v.space_id = %(space)s) "
            "ORDER BY s.{key} FOR KEY SHARE OF s SKIP LOCKED "
            "ON CONFLICT ({subject}, space_id) DO NOTHING RETURNING id",
            space=space.pk,
        )[1]

    def is_due(self, space: Space) -> bool:
        """Whether any job of a space could be claimed now."""
        rows, _ = self._execute("SELECT EXISTS (SELECT FROM {jobs} WHERE {due})", space=space.pk)
        return bool(rows[0][0])

    def _execute(self, statement: str, **parameters: Any) -> tuple[list[tuple[Any, ...]], int]:
        with connection.cursor() as cursor:
            cursor.execute(self._named(statement), _spans() | parameters)
            return cursor.fetchall(), cursor.rowcount

    def _change(self, lease: Lease, change: str) -> None:
        self._execute(
            _OF_LEASE.replace("{change}", change),
            token=lease.token,
            subjects=list(lease.subjects),
        )

    def _named(self, statement: str) -> str:
        statement = statement.replace("{due}", _DUE).replace("{free}", _FREE)
        statement = statement.replace("{only_died}", _ONLY_DIED)
        for name, value in self._names().items():
            statement = statement.replace("{" + name + "}", value)
        return statement

    def _names(self) -> dict[str, str]:
        subject = self.jobs.subject_field()
        names = {
            "jobs": self.jobs._meta.db_table,
            "spaces": Space._meta.db_table,
            "vectors": self.vectors._meta.db_table,
            "subject": subject.column,
            "target": subject.target_field.model._meta.db_table,
            "key": str(subject.target_field.column),
        }
        return {key: connection.ops.quote_name(name) for key, name in names.items()}


def _spans() -> dict[str, timedelta]:
    return {
        "lease": timedelta(seconds=settings.JOB_LEASE_SECONDS),
        "back_off": timedelta(seconds=BACK_OFF_SECONDS),
        "put_off": timedelta(seconds=PUT_OFF_SECONDS),
    }


def retry(jobs: QuerySet[Any]) -> int:
    """Make jobs fresh again, parked or not. Return how many."""
    return jobs.update(
        attempts=0, failed_at=None, not_before=None, lease_token=None, lease_until=None
    )
