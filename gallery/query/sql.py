"""Conditions in SQL that Django's lookups have no words for, or only slow ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db.models import BooleanField, F, Field, Func, Q
from django.db.models.expressions import Col

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models.sql.compiler import SQLCompiler


def holds(condition: str, *parameters: object) -> Q:
    """Return the condition as a Q. It is SQL of ours, with `{image}` for the table of images.

    Whatever a person wrote is among the parameters, each a `%s` in it. It must never be NULL.
    """
    return Q(Sql(condition, *parameters, output_field=BooleanField()))


class Sql(Func):
    """An expression over an image, in SQL of ours."""

    def __init__(self, sql: str, *parameters: object, output_field: Field[Any, Any]) -> None:
        # The id tells what the table of images is called in this query: as a subquery it may be U0.
        super().__init__(F("id"), output_field=output_field)
        self.sql, self.parameters = sql, parameters

    def as_sql(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, *_: Any, **__: Any
    ) -> tuple[str, tuple[Any, ...]]:
        (id_,) = self.get_source_expressions()
        assert isinstance(id_, Col)
        image = compiler.quote_name_unless_alias(id_.alias)
        return f"({self.sql.format(image=image)})", self.parameters
