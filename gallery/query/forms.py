"""A query as it is written: as JSON, and as the parameters of an address.

Both say the same and are read back to the same `Query`. An API call and a command line have the
parameters under the same names.

The weight of a text is never written into the text, where "3*4" may be just what is looked for:
the first `weight` belongs to the first `q`, the second to the second; who gives none means 1.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Collection, Mapping, Sequence
from datetime import date
from enum import StrEnum
from typing import Any

from gallery.errors import QueryInvalid
from gallery.query import Query
from gallery.query.choices import Aggregate, Band, Encoders, Leg, Mode, Order
from gallery.query.filters import EVERYTHING, And, Condition, Filter, all_of, conditions
from gallery.query.language import from_json as filter_from_json
from gallery.query.language import parse, write
from gallery.query.language import to_json as filter_to_json
from gallery.query.operators import Operator
from gallery.query.terms import ImageTerm, PixelsTerm, Term, TextTerm
from gallery.query.values import Period, image_id

VERSION = 1

# The names in an address, in the API and, with dashes, on the command line.
REPEATED = (
    *("q", "weight", "without", "similar_to", "similar_to_weight"),
    *("good", "bad", "tag"),
)
SINGLE = (
    *("album", "taken_after", "taken_before", "visibility", "filter", "mode", "legs"),
    *("aggregate", "encoders", "order", "diversity", "band", "min_score", "k"),
)
PARAMETERS = (*REPEATED, *SINGLE)

_JSON_KEYS = (
    *("version", "terms", "good", "bad", "filter", "mode", "legs"),
    *("aggregate", "encoders", "order", "diversity", "band", "min_score", "k"),
)
_CHOICES: tuple[tuple[str, str, type[StrEnum]], ...] = (
    ("mode", "mode", Mode),
    ("aggregate", "aggregate", Aggregate),
    ("encoders", "encoders", Encoders),
    ("order", "order", Order),
    ("band", "least_band", Band),
)


def to_json(query: Query) -> dict[str, Any]:
    """Return the query as JSON has it, without what is as usual.

    Pixels cannot be written: raise QueryInvalid for them.
    """
    written: dict[str, Any] = {"version": VERSION}
    if terms := _writable(query):
        written["terms"] = [_term_to_json(term) for term in terms]
    for name, images in (("good", query.good), ("bad", query.bad)):
        if images:
            written[name] = [str(one) for one in images]
    if query.filter != EVERYTHING:
        written["filter"] = filter_to_json(query.filter)
    if query.legs:
        written["legs"] = {str(leg): weight for leg, weight in query.legs}
    for name, attribute, _ in _CHOICES:
        if getattr(query, attribute) != getattr(Query, attribute):
            written[name] = str(getattr(query, attribute))
    for name in ("diversity", "min_score", "k"):
        if getattr(query, name) != getattr(Query, name):
            written[name] = getattr(query, name)
    return written


def from_json(value: object, *, terms: tuple[Term, ...] = ()) -> Query:
    """Return the query of `to_json`; the filter may also be a text of the filter language.

    `terms` come after those that are written: images that were sent along. Raise QueryInvalid,
    naming what is wrong.
    """
    if not isinstance(value, Mapping):
        raise QueryInvalid("A query is a JSON object.")
    _check_names(value, _JSON_KEYS)
    if value.get("version", VERSION) != VERSION:
        raise QueryInvalid(f"“version” of a query must be {VERSION}.")
    given: dict[str, Any] = {
        "terms": (*map(_term_from_json, _list(value, "terms")), *terms),
        "good": _ids(_list(value, "good"), "good"),
        "bad": _ids(_list(value, "bad"), "bad"),
    }
    if (written := value.get("filter")) is not None:
        is_text = isinstance(written, str)
        given["filter"] = parse(str(written)) if is_text else filter_from_json(written)
    if (legs := value.get("legs")) is not None:
        given["legs"] = _legs_from_json(legs)
    for name, attribute, kind in _CHOICES:
        if (choice := value.get(name)) is not None:
            given[attribute] = _choice(name, kind, choice)
    for name in ("diversity", "min_score"):
        if (number := value.get(name)) is not None:
            given[name] = _number(name, number)
    if (k := value.get("k")) is not None:
        given["k"] = _whole("k", k)
    return Query(**given)


def to_parameters(query: Query) -> list[tuple[str, str]]:
    """Return the query as (name, value) of an address, without what is as usual.

    Texts come before images of the library, whatever order the terms had. Pixels cannot be
    written: raise QueryInvalid for them.
    """
    terms = _writable(query)
    pairs = _text_parameters([term for term in terms if isinstance(term, TextTerm)])
    images = [term for term in terms if isinstance(term, ImageTerm)]
    pairs += [("similar_to", str(term.uuid)) for term in images]
    pairs += _weights("similar_to_weight", [term.weight for term in images])
    pairs += [("good", str(one)) for one in query.good]
    pairs += [("bad", str(one)) for one in query.bad]
    pairs += _filter_parameters(query.filter)
    if query.legs:
        legs = ",".join(f"{leg}:{_figure(weight)}" for leg, weight in query.legs)
        pairs.append(("legs", legs))
    for name, attribute, _ in _CHOICES:
        if getattr(query, attribute) != getattr(Query, attribute):
            pairs.append((name, str(getattr(query, attribute))))
    for name in ("diversity", "min_score", "k"):
        if getattr(query, name) != getattr(Query, name):
            pairs.append((name, _figure(getattr(query, name))))
    return pairs


def from_parameters(
    parameters: Mapping[str, Sequence[str]],
    *,
    extra: Collection[str] = (),
    terms: tuple[Term, ...] = (),
) -> Query:
    """Return the query of an address's parameters, each with its list of values.

    Empty values count as not given, as forms send them. `extra` are further names that the caller
    reads himself; `terms` come after those that are written. Raise QueryInvalid, naming what is
    wrong.
    """
    _check_names(parameters, (*PARAMETERS, *extra))
    given: dict[str, Any] = {
        "terms": (*_read_terms(parameters), *terms),
        "good": _ids(_several(parameters, "good"), "good"),
        "bad": _ids(_several(parameters, "bad"), "bad"),
        "filter": filter_of(parameters),
    }
    if legs := _one(parameters, "legs"):
        given["legs"] = _read_legs(legs)
    for name, attribute, kind in _CHOICES:
        if choice := _one(parameters, name):
            given[attribute] = _choice(name, kind, choice)
    for name in ("diversity", "min_score"):
        if number := _one(parameters, name):
            given[name] = _number(name, number)
    if k := _one(parameters, "k"):
        given["k"] = _whole("k", k)
    return Query(**given)


def filter_of(parameters: Mapping[str, Sequence[str]]) -> Filter:
    """Return the filter of `tag`, `album`, `taken_after`, `taken_before`, `visibility`, `filter`.

    All of them must hold. For lists of images, which have a filter but no query.
    """
    tags = [one for tag in _several(parameters, "tag") for one in tag.split(",") if one.strip()]
    plain = conditions(
        tags=tuple(tags),
        album=_one(parameters, "album"),
        taken_after=_day(parameters, "taken_after"),
        taken_before=_day(parameters, "taken_before"),
        visibility=_one(parameters, "visibility"),
    )
    return all_of((plain, parse(_one(parameters, "filter"))))


def _check_names(given: Mapping[Any, Any], known: Collection[str]) -> None:
    for name in given:
        if name not in known:
            raise QueryInvalid(
                f"There is no “{str(name)[:60]}” here; there are {', '.join(known)}."
            )


# Terms


def _writable(query: Query) -> list[TextTerm | ImageTerm]:
    kept = [term for term in query.terms if not isinstance(term, PixelsTerm)]
    if len(kept) < len(query.terms):
        raise QueryInvalid(
            "An image that was sent is not kept, so this search has no address and cannot be saved."
        )
    return kept


def _term_to_json(term: TextTerm | ImageTerm) -> dict[str, Any]:
    what = {"text": term.text} if isinstance(term, TextTerm) else {"similar_to": str(term.uuid)}
    return what if term.weight == 1 else {**what, "weight": term.weight}


def _term_from_json(value: object) -> Term:
    match value:
        case {"text": str(text), **others} if others.keys() <= {"weight"}:
            return TextTerm(text, _number("weight", others.get("weight", 1)))
        case {"similar_to": str(id_), **others} if others.keys() <= {"weight"}:
            (image,) = _ids([id_], "similar_to")
            return ImageTerm(image, _number("weight", others.get("weight", 1)))
    raise QueryInvalid('One of “terms” has "text" or "similar_to", and may have a "weight".')


def _text_parameters(terms: list[TextTerm]) -> list[tuple[str, str]]:
    """Texts of weight -1 that stand last are `without`: that is how people write them."""
    plus = len(terms)
    while plus and terms[plus - 1].weight == -1:
        plus -= 1
    return [
        *(("q", term.text) for term in terms[:plus]),
        *_weights("weight", [term.weight for term in terms[:plus]]),
        *(("without", term.text) for term in terms[plus:]),
    ]


def _weights(name: str, weights: list[float]) -> list[tuple[str, str]]:
    return [(name, _figure(weight)) for weight in weights] if set(weights) - {1} else []


def _read_terms(parameters: Mapping[str, Sequence[str]]) -> list[Term]:
    terms: list[Term] = [
        TextTerm(text, weight) for text, weight in _weighted(parameters, "q", "weight")
    ]
    terms += [TextTerm(text, -1.0) for text in _several(parameters, "without")]
    for id_, weight in _weighted(parameters, "similar_to", "similar_to_weight"):
        (image,) = _ids([id_], "similar_to")
        terms.append(ImageTerm(image, weight))
    return terms


def _weighted(
    parameters: Mapping[str, Sequence[str]], name: str, weight_name: str
) -> list[tuple[str, float]]:
    """Pair the values with their weights by place; a row of a form that was left empty is none."""
    texts, weights = parameters.get(name, ()), parameters.get(weight_name, ())
    if len(weights) > len(texts):
        raise QueryInvalid(f"There are more “{weight_name}” than “{name}”: each belongs to one.")
    filled = [*weights, *[""] * (len(texts) - len(weights))]
    return [
        (text, _number(weight_name, weight) if weight.strip() else 1.0)
        for text, weight in zip(texts, filled, strict=True)
        if text.strip()
    ]


# Filter


def _filter_parameters(filter_: Filter) -> list[tuple[str, str]]:
    """Return the filter as the plain parameters where these say just the same, else as text."""
    parts = filter_.parts if isinstance(filter_, And) else (filter_,)
    plain, others = list[tuple[str, str]](), list[Filter]()
    for part in parts:
        pair = _plain_parameter(part)
        if pair is None or (pair[0] != "tag" and pair[0] in dict(plain)):
            others.append(part)
        else:
            plain.append(pair)
    pairs = [*plain, *([("filter", write(all_of(others)))] if others else [])]
    try:
        if plain and filter_of(_lists(pairs)) == filter_:
            return pairs
    except QueryInvalid:
        pass  # more tags than the plain parameters take, or dates that exclude each other
    return [("filter", write(filter_))] if filter_ != EVERYTHING else []


def _plain_parameter(part: Filter) -> tuple[str, str] | None:
    match part:
        case Condition("tag" | "album" | "visibility" as name, Operator.IS, str(value)):
            return name, value
        case Condition("taken", Operator.AT_LEAST, Period(first, last)) if first == last:
            return "taken_after", first.isoformat()
        case Condition("taken", Operator.AT_MOST, Period(first, last)) if first == last:
            return "taken_before", last.isoformat()
    return None


def _lists(pairs: list[tuple[str, str]]) -> dict[str, list[str]]:
    lists: dict[str, list[str]] = {}
    for name, value in pairs:
        lists.setdefault(name, []).append(value)
    return lists


# Legs


def _legs_from_json(value: object) -> tuple[tuple[Leg, float], ...]:
    if not isinstance(value, Mapping):
        raise QueryInvalid('“legs” is an object of weights, such as {"image": 1, "keyword": 0.5}.')
    return tuple((_leg(name), _number("legs", weight)) for name, weight in value.items())


def _read_legs(written: str) -> tuple[tuple[Leg, float], ...]:
    """Read "image:1,keyword:0.5"; a leg without a weight has 1."""
    legs: dict[Leg, float] = {}
    for part in written.split(","):
        name, colon, weight = part.partition(":")
        leg = _leg(name.strip())
        if leg in legs:
            raise QueryInvalid(f"“legs” names {leg} twice.")
        legs[leg] = _number("legs", weight) if colon else 1.0
    return tuple(legs.items())


def _leg(name: object) -> Leg:
    leg = _choice("legs", Leg, name)
    assert isinstance(leg, Leg)
    return leg


# Values


def _several(parameters: Mapping[str, Sequence[str]], name: str) -> list[str]:
    return [value for value in parameters.get(name, ()) if value.strip()]


def _one(parameters: Mapping[str, Sequence[str]], name: str) -> str:
    values = _several(parameters, name)
    if len(values) > 1:
        raise QueryInvalid(f"“{name}” is given {len(values)} times; once is enough.")
    return values[0] if values else ""


def _list(value: Mapping[Any, Any], name: str) -> list[Any]:
    found = value.get(name)
    if found is None:
        return []
    if not isinstance(found, list):
        raise QueryInvalid(f"“{name}” is a list.")
    return found


def _ids(values: Sequence[object], name: str) -> tuple[uuid.UUID, ...]:
    try:
        return tuple(image_id(value) for value in values)
    except ValueError:
        raise QueryInvalid(f"“{name}” must be the id of an image.") from None


def _choice(name: str, kind: type[StrEnum], value: object) -> StrEnum:
    for choice in kind:
        if choice == value:
            return choice
    shown = repr(value[:60]) if isinstance(value, str) else "this"
    raise QueryInvalid(f"“{name}” must be one of {', '.join(kind)}; {shown} is not.")


def _number(name: str, value: object) -> float:
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            number = math.nan
        if math.isfinite(number):
            return number
    raise QueryInvalid(f"“{name}” must be a number.")


def _whole(name: str, value: object) -> int:
    if isinstance(value, str | int) and not isinstance(value, bool):
        try:
            return int(value)
        except ValueError:
            pass  # said below
    raise QueryInvalid(f"“{name}” must be a whole number.")


def _day(parameters: Mapping[str, Sequence[str]], name: str) -> date | None:
    written = _one(parameters, name)
    try:
        return date.fromisoformat(written) if written else None
    except ValueError:
        raise QueryInvalid(f"“{name}” must be a day such as 2024-12-31.") from None


def _figure(number: float) -> str:
    return repr(number).removesuffix(".0")
