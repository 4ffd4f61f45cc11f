"""Removes what a test has committed, in milliseconds.

Django's own flush truncates every table, makes content types and permissions anew and runs what
follows a migration: hundreds of tests would each wait a third of a second for that.
"""

from __future__ import annotations

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

# Written by migrations, and by no test.
KEPT = {"django_content_type", "auth_permission", "django_migrations"}
# Beyond, deleted rows would lie about for the tests that follow, and the counts of the planner too.
FEW_ROWS = 2000


def empty() -> None:
    """Remove every row that a test may have written."""
    names = connection.introspection.django_table_names(only_existing=True, include_views=False)
    emptied = [name for name in names if name not in KEPT]
    with transaction.atomic(), connection.cursor() as cursor:
        # What a killed process has begun may be under way yet, and would be committed afterwards.
        locked = ", ".join(map(_quoted, emptied))
        cursor.execute(f"LOCK TABLE {locked} IN SHARE ROW EXCLUSIVE MODE")
        rows = _count_to(FEW_ROWS, emptied, cursor)
        if large := [name for name, n in rows.items() if n > FEW_ROWS]:
            cursor.execute(f"TRUNCATE {', '.join(map(_quoted, large))} CASCADE")
        # Without the triggers that check references: in the end there are no rows at all. Those of
        # the change feed and of the watch over filters are run even so.
        cursor.execute("SET LOCAL session_replication_role = replica")
        for name, n in rows.items():
            if 0 < n <= FEW_ROWS:
                cursor.execute(f"DELETE FROM {_quoted(name)}")


def _count_to(most: int, names: list[str], cursor: CursorWrapper) -> dict[str, int]:
    """Return how many rows each table has; `most` + 1 where there are more."""
    counts = ", ".join(
        f"(SELECT count(*) FROM (SELECT FROM {_quoted(name)} LIMIT {most + 1}) AS first_rows)"
        for name in names
    )
    cursor.execute(f"SELECT {counts}")
    return dict(zip(names, cursor.fetchone(), strict=True))


def _quoted(name: str) -> str:
    return str(connection.ops.quote_name(name))
