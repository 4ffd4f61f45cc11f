"""How a condition compares a field with a value."""

from __future__ import annotations

from enum import StrEnum


class Operator(StrEnum):
    IS = "="
    IS_NOT = "!="
    LESS = "<"
    AT_MOST = "<="
    MORE = ">"
    AT_LEAST = ">="
    IN = "in"
    EXISTS = "exists"
    CONTAINS = "~"


CLOSED = (Operator.IS, Operator.IS_NOT, Operator.IN)
ORDERED = (Operator.LESS, Operator.AT_MOST, Operator.MORE, Operator.AT_LEAST)
