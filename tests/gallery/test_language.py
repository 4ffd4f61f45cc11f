from __future__ import annotations

import json
import re
import time
import uuid
from datetime import date
from pathlib import Path

import pytest
from django.core.exceptions import EmptyResultSet
from hypothesis import given
from hypothesis import strategies as st

from gallery.errors import QueryInvalid
from gallery.facets import FACETS
from gallery.models import Image
from gallery.query import values
from gallery.query.choices import Aggregate, Band, Leg, Mode, Order
from gallery.query.colours import NAMES
from gallery.query.fields import FIELDS, FORMATS, META, ORIENTATIONS
from gallery.query.filters import (
    EVERYTHING,
    And,
    Condition,
    Not,
    Operator,
    Or,
    all_of,
    any_of,
    apply,
    simplified,
)
from gallery.query.forms import PARAMETERS
from gallery.query.language import from_json, parse, to_json, write

SEA = Condition("tag", Operator.IS, "sea")
NIGHT = Condition("tag", Operator.IS, "night")
WIDE = Condition("width", Operator.AT_LEAST, 800)

READ = {
    "": EVERYTHING,
    "  \n ": EVERYTHING,
    "tag:sea": SEA,
    "tag = SEA": SEA,
    "TAG:sea": SEA,
    '(((tag:"sea")))': SEA,
    "tag:sea tag:night": And((SEA, NIGHT)),
    "tag:sea AND tag:night": And((SEA, NIGHT)),
    "tag:sea and tag:night width>=800": And((SEA, NIGHT, WIDE)),
    "tag:sea OR tag:night width>=800": Or((SEA, And((NIGHT, WIDE)))),
    "(tag:sea or tag:night) width>=800": And((Or((SEA, NIGHT)), WIDE)),
    "-tag:sea": Not(SEA),
    "NOT tag:sea tag:night": And((Not(SEA), NIGHT)),
    "not(tag:sea tag:night)": Not(And((SEA, NIGHT))),
    "not not tag:sea": Not(Not(SEA)),
    "not ()": Not(EVERYTHING),
    "tag in (sea, night)": Condition("tag", Operator.IN, ("sea", "night")),
    'tag in("sea","night",sea)': Condition("tag", Operator.IN, ("sea", "night")),
    "tag!=sea": Condition("tag", Operator.IS_NOT, "sea"),
    "album exists tag:sea": And((Condition("album", Operator.EXISTS), SEA)),
    'camera:"Canon EOS 5D"': Condition("camera", Operator.IS, "Canon EOS 5D"),
    r'name:"a\"b\\c"': Condition("name", Operator.CONTAINS, r'a"b\c'),
    "caption:sea": Condition("caption", Operator.CONTAINS, "sea"),
    "category:and-or": Condition("category", Operator.IS, "and-or"),
    "category:exists": Condition("category", Operator.IS, "exists"),
    "size>2MB": Condition("size", Operator.MORE, 2_000_000),
    'size<"1.5 KiB"': Condition("size", Operator.LESS, 1536),
    "format:jpg": Condition("format", Operator.IS, "jpeg"),
    "taken:2024": Condition(
        "taken", Operator.IS, values.Period(date(2024, 1, 1), date(2024, 12, 31))
    ),
    "taken<2024-02": Condition(
        "taken", Operator.LESS, values.Period(date(2024, 2, 1), date(2024, 2, 29))
    ),
    "near:52.52,-13.40,500m": Condition("near", Operator.IS, values.Near(52.52, -13.4, 0.5)),
    "colour:#336699": Condition("colour", Operator.IS, values.Colour("#336699", 15, 0.1)),
    "colour:#33669F~7.5@30%": Condition("colour", Operator.IS, values.Colour("#33669f", 7.5, 0.3)),
    "meta.iso>=400": Condition("meta.iso", Operator.AT_LEAST, 400),
    "meta.iso:-.5e3": Condition("meta.iso", Operator.IS, -500),
    "meta.iso:true": Condition("meta.iso", Operator.IS, values.Truth.TRUE),
    'meta.iso:"400"': Condition("meta.iso", Operator.IS, "400"),
    'meta.exif."f number" exists': Condition('meta.exif."f number"', Operator.EXISTS),
    'meta."plain":x': Condition("meta.plain", Operator.IS, "x"),
    "meta.In exists": Condition("meta.In", Operator.EXISTS),
}


@pytest.mark.parametrize("text", READ)
def test_a_text_is_read_as_it_is_meant(text):
    assert parse(text) == READ[text]
    assert parse(write(READ[text])) == READ[text]


UNREADABLE = {
    "sea": ("after “sea”", "tag:boat"),
    "tag:": ("after “tag:”", "a value is due"),
    "tag:sea night": ("after “tag:sea night”", "an operator"),
    "tag:sea)": ("character 8", "never opened"),
    "(tag:sea": ("after “(tag:sea”", "not closed"),
    "tag:sea AND": ("after “tag:sea AND”", "a condition is due"),
    "OR tag:sea": ("character 1", "a condition is due"),
    "tag in sea": ("character 8", "(sea, night)"),
    "tag in (big sea)": ("character 13", "quotes"),
    "tag in ()": ("character 9", "(sea, night)"),
    'tag:"sea': ("character 5", "quotes"),
    '"sea"': ("character 1", "a condition is due"),
    "tag ? sea": ("character 5", "an operator"),
    "tag:sea; DROP TABLE": ("TABLE", "an operator"),
    "megapixels:3": ("megapixels", "not a colon"),
    "password:x": ("password", "there are tag, album"),
    "width:wide": ("width", "such as 800"),
}


@pytest.mark.parametrize("text", UNREADABLE)
def test_what_cannot_be_read_is_told_with_its_place_and_what_is_right(text):
    with pytest.raises(QueryInvalid) as refusal:
        parse(text)
    for part in UNREADABLE[text]:
        assert part in str(refusal.value)


HOSTILE = {
    "brackets": "(" * 1000 + "tag:sea" + ")" * 1000,
    "brackets never closed": "(" * 50_000,
    "NOT": "NOT " * 1000 + "tag:sea",
    "minus": "-" * 50_000 + "tag:sea",
    "groups": "(tag:a OR " * 1000 + "tag:sea" + ")" * 1000,
    "conditions": "tag:sea " * 10_000,
    "nothing": "() " * 20_000,
    "a list": f"tag in ({', '.join(map(str, range(15_000)))})",
    "a megabyte": "x" * 1_000_000,
    "a long word": "tag:" + "x" * 90_000,
    "a long quote": 'tag:"' + "\\" * 90_000,
    "quotes": '"' * 90_000,
    "a long path": "meta" + ".a" * 40_000 + ":1",
    "a long number": "meta.a:" + "9" * 90_000,
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_text_made_to_hurt_is_refused_quickly(what):
    parse("tag:sea")  # the grammar is read once
    started = time.process_time()
    with pytest.raises(QueryInvalid):
        parse(HOSTILE[what])
    assert time.process_time() - started < 2


# Any filter at all, as text and as JSON and back.

words = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=12)
lines = st.lists(words, min_size=1, max_size=3).map(" ".join)
days = st.dates(date(1000, 1, 1), date(2999, 12, 31))
periods = st.one_of(
    days,
    st.integers(1000, 2999),
    days.map("{:%Y-%m}".format),
    st.tuples(days, days).map(lambda pair: f"{min(pair)}..{max(pair)}"),
)
places = st.tuples(st.floats(-90, 90), st.floats(-180, 180), st.floats(0, 20_000, exclude_min=True))
shades = st.tuples(st.integers(0, 2**24 - 1), st.floats(1, 50), st.floats(0, 1)).map(
    lambda parts: values.Colour(f"#{parts[0]:06x}", parts[1], parts[2])
)
scalars = st.one_of(
    st.booleans(),
    st.integers(-(10**15), 10**15),
    st.floats(allow_nan=False, allow_infinity=False),
    lines,
    st.sampled_from(["true", "400", "-1.5", "1e5", "in", "(", '"', "\\"]),
)
amounts = st.integers(0, 10**15)
VALUES = {
    "taken": periods,
    "added": periods,
    "width": amounts,
    "height": amounts,
    "size": amounts,
    "megapixels": st.floats(0, 1e6),
    "orientation": st.sampled_from(ORIENTATIONS),
    "format": st.sampled_from(FORMATS),
    "state": st.sampled_from(["ready", "waiting", "failed"]),
    "visibility": st.sampled_from(["public", "private"]),
    "link": st.sampled_from(["ok", "broken", "unreachable"]),
    "near": places,
    "colour": st.one_of(st.sampled_from(NAMES), shades),
    "id": st.uuids(),
    "video": st.uuids(),
    META: scalars,
}


@st.composite
def conditions(draw) -> Condition:
    field = FIELDS[draw(st.sampled_from(sorted(FIELDS)))]
    name = field.name
    if name == META:
        keys = draw(st.lists(lines, min_size=1, max_size=3))
        name = ".".join([META, *(json.dumps(key, ensure_ascii=False) for key in keys)])
    operator = draw(st.sampled_from(field.operators))
    if operator == Operator.EXISTS:
        return Condition(name, operator)
    value = VALUES.get(field.name, lines)
    if operator == Operator.IN:
        return Condition(name, operator, draw(st.lists(value, min_size=1, max_size=4)))
    return Condition(name, operator, draw(value))


filters = st.recursive(
    st.one_of(conditions(), st.just(EVERYTHING)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(lambda parts: And(tuple(parts))),
        st.lists(inner, min_size=1, max_size=4).map(lambda parts: Or(tuple(parts))),
        inner.map(Not),
    ),
    max_leaves=12,
)


@given(filters)
def test_a_written_filter_is_read_as_the_same_filter(tree):
    plain = simplified(tree)
    assert parse(write(plain)) == plain
    assert parse(write(tree)) == plain
    assert hash(parse(write(plain))) == hash(plain)
    assert write(parse(write(plain))) == write(plain)


@given(filters)
def test_a_filter_goes_through_json_and_back(tree):
    assert from_json(json.loads(json.dumps(to_json(tree), allow_nan=False))) == tree


@given(filters)
def test_any_filter_becomes_one_statement(tree):
    class Viewer:
        pk, is_authenticated, is_superuser = 1, True, False

    try:
        sql, _ = apply(tree, Image.objects.order_by(), Viewer()).query.sql_with_params()
    except EmptyResultSet:
        return  # Django sees that nothing can pass
    assert "DISTINCT" not in sql


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text):
    try:
        tree = parse(text)
    except QueryInvalid:
        return
    assert parse(write(tree)) == tree


@given(st.text('taginormd0123:"\\()<>=~!., -', max_size=40))
def test_any_text_of_the_languages_own_signs_is_read_or_refused(text):
    test_any_text_is_read_or_refused.hypothesis.inner_test(text)


def test_json_says_what_the_language_says():
    tree = parse("tag:boat (taken>=2024-05 OR width in (8, 9)) -meta.raw:true album exists")
    assert to_json(tree) == {
        "and": [
            {"field": "tag", "op": "=", "value": "boat"},
            {
                "or": [
                    {"field": "taken", "op": ">=", "value": "2024-05"},
                    {"field": "width", "op": "in", "value": [8, 9]},
                ]
            },
            {"not": {"field": "meta.raw", "op": "=", "value": True}},
            {"field": "album", "op": "exists"},
        ]
    }
    assert from_json({"field": "caption", "value": "boat"}) == parse("caption:boat")
    assert from_json({"field": "near", "value": [52, 13, 5]}) == parse("near:52,13,5km")


def buried(levels: int) -> object:
    value: object = {"field": "tag", "op": "=", "value": "sea"}
    for _ in range(levels):
        value = {"not": value}
    return value


def listed(levels: int) -> object:
    value: object = "sea"
    for _ in range(levels):
        value = [value]
    return value


SENSELESS = {
    "nothing": None,
    "a text": "tag:sea",
    "a list": [],
    "an empty object": {},
    "an unknown key": {"xor": []},
    "two at once": {"and": [], "or": []},
    "no list": {"and": {}},
    "an OR of nothing": {"or": []},
    "more keys than there are": {"field": "tag", "op": "=", "value": "a", "weight": 1},
    "a field that is no text": {"field": 1, "op": "=", "value": "a"},
    "an unknown field": {"field": "password", "op": "=", "value": "a"},
    "an unknown operator": {"field": "tag", "op": "LIKE", "value": "a"},
    "an operator that is no text": {"field": "tag", "op": ["="], "value": "a"},
    "no value": {"field": "tag", "op": "="},
    "a value for exists": {"field": "tag", "op": "exists", "value": False},
    "an object as value": {"field": "meta.a", "op": "=", "value": {"$ne": 1}},
    "a thousand levels": buried(1000),
    "a value of a thousand levels": {"field": "tag", "op": "=", "value": listed(5000)},
    "a list of a thousand levels": {"field": "tag", "op": "in", "value": listed(5000)},
    "a part of a thousand levels": {"and": listed(5000)},
    "ten thousand parts": {"and": [{"and": []}] * 10_000},
}


@pytest.mark.parametrize("what", SENSELESS)
def test_json_that_makes_no_sense_is_refused_with_a_sentence(what):
    with pytest.raises(QueryInvalid) as refusal:
        from_json(SENSELESS[what])
    assert str(refusal.value).endswith(".")
    assert len(str(refusal.value)) < 500


def test_parts_are_joined_in_their_order():
    images = [Condition("id", Operator.IS, uuid.UUID(int=i)) for i in range(3)]
    assert write(any_of(images)).count(" OR ") == 2
    assert all_of([all_of(images[:2]), images[2]]) == And(tuple(images))


PAGE = Path(__file__, "../../../docs/query.md").resolve().read_text()


def test_the_page_lists_the_fields_that_there_are():
    rows = re.findall(r"^\| `(\S+)` \| (.+) \| (`.+`) \| `(.+)` \|$", PAGE, re.MULTILINE)
    assert rows == [
        (
            f"{META}.KEY" if field.name == META else field.name,
            f"{field.title}: {field.expects}",
            " ".join(f"`{operator}`" for operator in field.operators),
            field.example,
        )
        for field in FIELDS.values()
    ]


@pytest.mark.parametrize("field", FIELDS.values(), ids=FIELDS)
def test_the_example_of_a_field_is_a_condition_on_it(field):
    condition = parse(field.example)
    assert isinstance(condition, Condition)
    assert condition.field.partition(".")[0] == field.name


def test_the_page_names_every_parameter_choice_and_facet():
    words = [*PARAMETERS, *Mode, *Aggregate, *Leg, *Band, *FACETS]
    words += [order.removeprefix("-") for order in Order]
    assert [word for word in words if f"`{word}`" not in PAGE] == []


def test_the_conditions_that_the_page_shows_can_be_read():
    shown = re.findall(r"`((?:-|NOT )?[a-z.]+(?:[:<>=~]| in | exists)[^`]*)`", PAGE)
    shown = [text for text in shown if not text.startswith(("q=", "image:", "encoders="))]
    assert len(shown) > 30
    for text in shown:
        assert parse(text) != EVERYTHING, text
