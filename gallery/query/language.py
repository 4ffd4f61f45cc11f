"""The filter language: `tag:boat (taken>=2024-05 OR camera:"Canon EOS 5D") -format:png`.

`parse` and `write` are inverse, `from_json` and `to_json` too; all four mean the same trees.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any, assert_never, cast

from lark import Lark, Token, Transformer, UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from gallery.errors import QueryInvalid
from gallery.query import values
from gallery.query.fields import META, Field, field_of
from gallery.query.filters import (
    EVERYTHING,
    MAX_CONDITIONS,
    MAX_DEPTH,
    And,
    Condition,
    Filter,
    Not,
    Or,
)
from gallery.query.operators import Operator
from gallery.query.values import Bare, Truth

MAX_LENGTH = 100_000  # characters
MAX_WORDS = 25 * MAX_CONDITIONS
MAX_BRACKETS = 2 * MAX_DEPTH  # inside one another; the tree has a limit of its own

# OR binds least, then AND, which need not be written, then NOT. What a word may hold depends on
# where it stands: VALUE has commas, as places do, ITEM has none, because they part a list.
GRAMMAR = r"""
    ?start: disjunction
          | -> everything
    ?disjunction: conjunction (_OR conjunction)*
    ?conjunction: factor (_AND? factor)*
    ?factor: (_NOT | _MINUS) factor -> negation
           | _OPEN disjunction _CLOSE
           | _OPEN _CLOSE -> everything
           | FIELD (COLON | SIGN) (VALUE | QUOTED) -> comparison
           | FIELD _IN _OPEN (ITEM | QUOTED) (_COMMA (ITEM | QUOTED))* _CLOSE -> membership
           | FIELD _EXISTS -> existence

    FIELD: /(?!(and|or|not)\b)[a-z_]\w*(\.([\w-]+|"(\\.|[^"\\])*"))*/i
    COLON: ":"
    SIGN: />=|<=|!=|=|<|>|~/
    VALUE: /[^\s()"=<>!~:][^\s()"]*/
    ITEM: /[^\s(),"=<>!~:][^\s(),"]*/
    QUOTED: /"(\\.|[^"\\])*"/
    _IN: /in(?=[\s(])/i
    _EXISTS: /exists(?![^\s)])/i
    _AND.2: /and(?![^\s()"])/i
    _OR.2: /or(?![^\s()"])/i
    _NOT.2: /not(?![^\s()"])/i
    _MINUS: "-"
    _OPEN: "("
    _CLOSE: ")"
    _COMMA: ","
    %ignore /\s+/
"""

_HINTS = {
    "COLON": "a field is followed by an operator and a value, such as tag:boat",
    "VALUE": 'a value is due; one with blanks or brackets stands in quotes: camera:"Canon EOS 5D"',
    "ITEM": "a value is due, as in tag in (sea, night)",
    "_COMMA": "a list is written (sea, night), a value with blanks in quotes",
    "FIELD": "a condition is due, such as tag:boat or taken>=2024-05",
    "_OPEN": "a list is written (sea, night)",
    "_CLOSE": "a bracket is not closed",
    "$END": "this bracket was never opened",
}
_WORD = re.compile(r'"(?:[^"\\]|\\.)*"?|[()]|-|[^\s()"]+')
_PLAIN = re.compile(r'[^\s(),"=<>!~:][^\s(),"]*')


def parse(text: str) -> Filter:
    """Return the filter that a text says; an empty text lets everything pass.

    Raise QueryInvalid, with the place, for what cannot be read, and with the field for what is
    wrong there.
    """
    _check_size(text)
    try:
        # The builder makes filters where Lark would make its trees.
        return cast("Filter", _parser().parse(text))
    except UnexpectedInput as error:
        raise QueryInvalid(_sentence(error, text)) from error


def _check_size(text: str) -> None:
    if len(text) > MAX_LENGTH:
        raise QueryInvalid(f"The text of a filter has at most {MAX_LENGTH:,} characters.")
    depth = 0
    for count, word in enumerate(_WORD.finditer(text)):
        depth += {"(": 1, ")": -1}.get(word[0], 0)
        if depth > MAX_BRACKETS:
            raise QueryInvalid(f"A filter is nested at most {MAX_DEPTH} levels deep.")
        if count == MAX_WORDS:
            raise QueryInvalid(f"A filter has at most {MAX_CONDITIONS} conditions.")


def _sentence(error: UnexpectedInput, text: str) -> str:
    assert isinstance(error, UnexpectedToken | UnexpectedCharacters)
    expected = set(error.expected if isinstance(error, UnexpectedToken) else error.allowed or ())
    hint = next((hint for name, hint in _HINTS.items() if name in expected), "it is over")
    is_end = isinstance(error, UnexpectedToken) and error.token.type == "$END"
    at = len(text) if is_end else error.pos_in_stream
    assert at is not None
    if not text[at:].strip():
        return f"The filter ends too early, after “{text.strip()[-20:]}”: {hint}."
    return f"The filter cannot be read at character {at + 1}, from “{text[at : at + 20]}”: {hint}."


class _Builder(Transformer[Token, Filter]):
    """Makes the tree while it is parsed: nothing recurses, and the first fault ends it."""

    def everything(self, _: list[Any]) -> Filter:
        return EVERYTHING

    def disjunction(self, parts: list[Filter]) -> Filter:
        return Or(tuple(parts))

    def conjunction(self, parts: list[Filter]) -> Filter:
        return And(tuple(parts))

    def negation(self, parts: list[Filter]) -> Filter:
        return Not(parts[0])

    def comparison(self, tokens: list[Token]) -> Filter:
        field, sign, value = tokens
        name = _name(field)
        operator = field_of(name).colon if sign == ":" else Operator(sign)
        if operator is None:
            known = " ".join(field_of(name).operators)
            raise QueryInvalid(f"“{name}” takes {known}, and not a colon.")
        return Condition(name, operator, _unquoted(value))

    def membership(self, tokens: list[Token]) -> Filter:
        return Condition(_name(tokens[0]), Operator.IN, tuple(map(_unquoted, tokens[1:])))

    def existence(self, tokens: list[Token]) -> Filter:
        return Condition(_name(tokens[0]), Operator.EXISTS)


@cache
def _parser() -> Lark:
    return Lark(GRAMMAR, parser="lalr", transformer=_Builder(), maybe_placeholders=False)


def _name(field: Token) -> str:
    first, dot, keys = str(field).partition(".")
    return first.lower() + dot + keys


def _unquoted(token: Token) -> str:
    if token.type == "QUOTED":
        return re.sub(r"\\(.)", r"\1", token[1:-1], flags=re.DOTALL)
    return Bare(token)


def write(filter_: Filter) -> str:
    """Return the text that `parse` reads as this filter again.

    An And or Or of a single part is written as that part: see `filters.simplified`.
    """
    return "" if filter_ == EVERYTHING else _written(filter_)


def _written(filter_: Filter) -> str:
    match filter_:
        case And((part,)) | Or((part,)):
            return _written(part)
        case And(parts):
            return " AND ".join(map(_bracketed, parts)) or "()"
        case Or(parts):
            return " OR ".join(map(_bracketed, parts))
        case Not(part):
            return f"NOT {_bracketed(part)}"
        case Condition():
            return _written_condition(filter_)
    assert_never(filter_)


def _bracketed(filter_: Filter) -> str:
    match filter_:
        case And((part,)) | Or((part,)):
            return _bracketed(part)
        case And(parts) | Or(parts) if parts:
            return f"({_written(filter_)})"
    return _written(filter_)


def _written_condition(condition: Condition) -> str:
    field, operator = field_of(condition.field), condition.operator
    if operator == Operator.EXISTS:
        return f"{condition.field} exists"
    if isinstance(condition.value, tuple):
        items = ", ".join(_quoted(field, value) for value in condition.value)
        return f"{condition.field} in ({items})"
    sign = ":" if operator == field.colon else str(operator)
    return f"{condition.field}{sign}{_quoted(field, condition.value)}"


def _quoted(field: Field, value: object) -> str:
    text = field.write(value)
    if not isinstance(value, str) or (_PLAIN.fullmatch(text) and not _is_ambiguous(field, text)):
        return text
    escaped = text.replace("\\", r"\\").replace('"', r"\"")
    return f'"{escaped}"'


def _is_ambiguous(field: Field, text: str) -> bool:
    """Is it a text in metadata that would be read as a number or a truth without its quotes?"""
    return field.name.startswith(f"{META}.") and values.scalar_or_none(Bare(text)) != text


def to_json(filter_: Filter) -> dict[str, Any]:
    """Return the filter as JSON has it: and, or, not, or field, op and value."""
    match filter_:
        case And(parts):
            return {"and": [to_json(part) for part in parts]}
        case Or(parts):
            return {"or": [to_json(part) for part in parts]}
        case Not(part):
            return {"not": to_json(part)}
        case Condition(field, Operator.EXISTS):
            return {"field": field, "op": "exists"}
        case Condition(field, operator, tuple() as several):
            return {"field": field, "op": str(operator), "value": [_plain(one) for one in several]}
        case Condition(field, operator, value):
            return {"field": field, "op": str(operator), "value": _plain(value)}
    assert_never(filter_)


def _plain(value: object) -> str | int | float | bool:
    if isinstance(value, Truth):
        return value is Truth.TRUE
    return value if isinstance(value, str | int | float) else values.written(value)


def from_json(value: object) -> Filter:
    """Return the filter that `to_json` wrote, or a person. Raise QueryInvalid where it is wrong."""
    return _from_json(value, MAX_DEPTH)


def _from_json(value: object, levels: int) -> Filter:
    if not isinstance(value, Mapping):
        raise QueryInvalid('A filter is {"and": […]}, {"or": […]}, {"not": …} or has a "field".')
    if levels < 0:
        raise QueryInvalid(f"A filter is nested at most {MAX_DEPTH} levels deep.")
    match dict(value):
        case {"and": [*parts], **others} if not others and len(parts) <= MAX_CONDITIONS:
            return And(tuple(_from_json(part, levels - 1) for part in parts))
        case {"or": [*parts], **others} if not others and len(parts) <= MAX_CONDITIONS:
            return Or(tuple(_from_json(part, levels - 1) for part in parts))
        case {"not": part, **others} if not others:
            return Not(_from_json(part, levels - 1))
        case {"field": str(name), **others} if others.keys() <= {"op", "value"}:
            return _condition(name, others)
    raise QueryInvalid(
        'A part of a filter has "field", "op" and "value", or just one of "and", "or" and "not", '
        f"with at most {MAX_CONDITIONS} parts."
    )


def _condition(name: str, others: dict[str, Any]) -> Condition:
    field = field_of(name)
    written = others.get("op", str(field.operators[0]))
    if not isinstance(written, str) or written not in tuple(Operator):
        raise QueryInvalid(f"“{field.name}” takes one of these as op: {' '.join(field.operators)}.")
    operator = Operator(written)
    return Condition(
        name, operator, others.get("value", True if operator == Operator.EXISTS else None)
    )
