from __future__ import annotations

import json
import math
import uuid
from urllib.parse import parse_qs, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as PillowImage

from gallery.errors import QueryInvalid
from gallery.query import MAX_K, ImageTerm, PixelsTerm, Query, TextTerm
from gallery.query.choices import Aggregate, Band, Encoders, Leg, Mode, Order
from gallery.query.filters import EVERYTHING, Condition, Operator, all_of, conditions, simplified
from gallery.query.forms import (
    PARAMETERS,
    filter_of,
    from_json,
    from_parameters,
    to_json,
    to_parameters,
)
from gallery.query.language import parse
from tests.gallery.test_language import filters

ONE, TWO = uuid.UUID(int=1), uuid.UUID(int=2)
BEACH = TextTerm("beach")


def address(query: Query) -> str:
    return urlencode(to_parameters(query))


def read(text: str) -> Query:
    return from_parameters(parse_qs(text, keep_blank_values=True))


weights = st.one_of(
    st.sampled_from([1.0, -1.0, 2.0]), st.floats(0.01, 100), st.floats(0.01, 100).map(lambda w: -w)
)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20).map(
    lambda text: f"{text}3*4"
)
plain = st.builds(
    lambda tags, album, day, visibility: conditions(
        tags=tuple(tags), album=album, taken_after=day, visibility=visibility
    ),
    st.lists(st.sampled_from(["sea", "a,b", "night", "x y"]), max_size=3),
    st.sampled_from(["", "Trip"]),
    st.one_of(st.none(), st.dates()),
    st.sampled_from(["", "public"]),
)
queries = st.builds(
    Query,
    terms=st.tuples(
        st.lists(st.builds(TextTerm, texts, weights), min_size=1, max_size=4),
        st.lists(st.builds(ImageTerm, st.uuids(), weights), max_size=3),
    ).map(lambda parts: (*parts[0], *parts[1])),
    good=st.lists(st.uuids(), max_size=3).map(tuple),
    bad=st.lists(st.uuids(), max_size=3).map(tuple),
    filter=st.one_of(
        st.just(EVERYTHING),
        plain,
        filters.map(simplified),
        st.tuples(plain, filters.map(simplified)).map(all_of).map(simplified),
    ),
    mode=st.sampled_from(Mode),
    legs=st.dictionaries(st.sampled_from(Leg), st.floats(0, 100)).map(lambda d: tuple(d.items())),
    aggregate=st.sampled_from(Aggregate),
    encoders=st.sampled_from(Encoders),
    order=st.sampled_from(Order),
    diversity=st.floats(0, 1),
    least_band=st.sampled_from(Band),
    min_score=st.one_of(st.none(), st.floats(-1, 1)),
    k=st.integers(1, MAX_K),
)


@given(queries)
def test_a_query_goes_through_its_address_and_back(query):
    assert read(address(query)) == query


@given(queries)
def test_a_query_goes_through_json_and_back(query):
    written = to_json(query)
    assert written["version"] == 1
    assert from_json(json.loads(json.dumps(written, allow_nan=False))) == query


def test_a_plain_query_has_a_short_address():
    query = Query(
        terms=(BEACH, TextTerm("people", -1.0), ImageTerm(ONE)),
        filter=conditions(tags=("sea", "night"), album="Trip"),
    )
    assert to_parameters(query) == [
        ("q", "beach"),
        ("without", "people"),
        ("similar_to", str(ONE)),
        ("tag", "sea"),
        ("tag", "night"),
        ("album", "Trip"),
    ]
    assert to_json(Query(terms=(BEACH,))) == {"version": 1, "terms": [{"text": "beach"}]}


def test_what_the_plain_parameters_cannot_say_goes_into_the_filter():
    mixed = Query(terms=(BEACH,), filter=parse("tag:sea width>=800"))
    assert to_parameters(mixed) == [("q", "beach"), ("tag", "sea"), ("filter", "width>=800")]
    for text in ("width>=800 AND tag:sea", 'tag:"a,b"', "taken>=2024", "tag:sea OR tag:night"):
        query = Query(terms=(BEACH,), filter=parse(text))
        assert to_parameters(query)[1:] == [("filter", text)]


def test_all_filters_of_an_address_must_hold():
    query = read("q=beach&tag=sea,night&taken_after=2024-05-01&filter=width>=800+OR+format:png")
    expected = "tag:sea tag:night taken>=2024-05-01 (width>=800 OR format:png)"
    assert query.filter == parse(expected)
    assert filter_of({"tag": ["sea"]}) == Condition("tag", Operator.IS, "sea")


def test_a_weight_belongs_to_the_text_at_its_place():
    terms = read("q=beach&q=boat&weight=2&weight=0.5&without=people").terms
    assert terms == (TextTerm("beach", 2), TextTerm("boat", 0.5), TextTerm("people", -1))
    assert read("q=beach&q=boat&weight=2").terms == (TextTerm("beach", 2), TextTerm("boat"))
    # A form sends its empty rows too.
    terms = read("q=&weight=3&q=boat&weight=&q=tree&weight=-0.5").terms
    assert terms == (TextTerm("boat"), TextTerm("tree", -0.5))
    images = read(f"similar_to={ONE}&similar_to={TWO}&similar_to_weight=-1").terms
    assert images == (ImageTerm(ONE, -1), ImageTerm(TWO))


@pytest.mark.parametrize("text", ["3*4", "2*beach", "-people", "beach^2", "a:b", 'say "x"', "50%"])
def test_a_text_is_looked_for_as_it_stands(text):
    query = Query(terms=(TextTerm(text),))
    assert read(address(query)).terms == (TextTerm(text),)


def test_legs_are_named_with_their_weights():
    assert read("q=a&legs=image,keyword:0.5").legs == ((Leg.IMAGE, 1.0), (Leg.KEYWORD, 0.5))


def test_a_filter_in_json_may_be_a_text():
    query = from_json({"terms": [{"text": "beach"}], "filter": "tag:sea -tag:night"})
    assert query.filter == parse("tag:sea AND NOT tag:night")


def test_pixels_are_not_written_but_may_come_beside_what_is():
    sent = PixelsTerm(PillowImage.new("RGB", (4, 4)))
    query = Query(terms=(BEACH, sent))
    for form in (to_json, to_parameters):
        with pytest.raises(QueryInvalid, match="not kept"):
            form(query)
    assert from_json(to_json(Query(terms=(BEACH,))), terms=(sent,)) == query
    assert from_parameters({}, terms=(sent,)).terms == (sent,)


def test_a_face_may_have_parameters_of_its_own():
    assert from_parameters({"q": ["a"], "page": ["2"]}, extra=("page",)).terms == (TextTerm("a"),)
    with pytest.raises(QueryInvalid, match="“page”"):
        from_parameters({"q": ["a"], "page": ["2"]})


SENSELESS = {
    "no term": ("k=3", "look for"),
    "an unknown parameter": ("q=a&owner__password=x", "owner__password"),
    "a wrong filter": ("q=a&filter=tag", "tag:boat"),
    "an unknown field": ("q=a&filter=password:x", "password"),
    "a mode that is none": ("q=a&mode=psychic", "mode"),
    "an order that is none": ("q=a&order=owner__password", "order"),
    "a mode given twice": ("q=a&mode=semantic&mode=keyword", "mode"),
    "a k of words": ("q=a&k=many", "k"),
    "a huge k": ("q=a&k=1000000000", "k"),
    "an endless k": ("q=a&k=" + "9" * 10_000, "k"),
    "a diversity that is no number": ("q=a&diversity=nan", "diversity"),
    "a score without end": ("q=a&min_score=inf", "min_score"),
    "a weight of words": ("q=a&weight=much", "weight"),
    "a weight that is no number": ("q=a&weight=nan", "weight"),
    "more weights than texts": ("q=a&weight=1&weight=2", "weight"),
    "an id that is none": ("similar_to=1", "similar_to"),
    "a good example that is none": ("q=a&good=x", "good"),
    "a day that is none": ("q=a&taken_after=2024-13-01", "taken_after"),
    "a leg that is none": ("q=a&legs=arm:1", "legs"),
    "a leg twice": ("q=a&legs=image:1,image:2", "image twice"),
    "a visibility that is none": ("q=a&visibility=friends", "visibility"),
    "a text of a megabyte": ("q=" + "x" * 1_000_000, "1000 characters"),
    "many terms": ("&".join(["q=a"] * 100), "16 terms"),
}


@pytest.mark.parametrize("what", SENSELESS)
def test_an_address_that_makes_no_sense_is_refused_by_name(what):
    text, named = SENSELESS[what]
    with pytest.raises(QueryInvalid) as refusal:
        read(text)
    assert named in str(refusal.value)


TERMS = {"terms": [{"text": "a"}]}
SENSELESS_JSON = {
    "no object": ([], "JSON object"),
    "another version": (TERMS | {"version": 2}, "version"),
    "an unknown key": (TERMS | {"tags": ["a"]}, "tags"),
    "terms that are no list": ({"terms": "a"}, "terms"),
    "a term of nothing": ({"terms": [{}]}, "terms"),
    "a term of two": ({"terms": [{"text": "a", "similar_to": str(ONE)}]}, "terms"),
    "a weight that is true": ({"terms": [{"text": "a", "weight": True}]}, "weight"),
    "a weight of infinity": ({"terms": [{"text": "a", "weight": math.inf}]}, "weight"),
    "a weight beyond floats": ({"terms": [{"text": "a", "weight": 10**400}]}, "weight"),
    "a k with a fraction": (TERMS | {"k": 2.5}, "k"),
    "a k that is true": (TERMS | {"k": True}, "k"),
    "legs that are no object": (TERMS | {"legs": ["image"]}, "legs"),
    "a mode that is a list": (TERMS | {"mode": ["semantic"]}, "mode"),
    "an id that is no text": (TERMS | {"good": [1]}, "good"),
    "a filter that is a list": (TERMS | {"filter": []}, "filter"),
}


@pytest.mark.parametrize("what", SENSELESS_JSON)
def test_json_that_makes_no_sense_is_refused_by_name(what):
    value, named = SENSELESS_JSON[what]
    with pytest.raises(QueryInvalid) as refusal:
        from_json(value)
    assert named in str(refusal.value)


def test_every_parameter_is_read():
    query = read(
        f"q=a&weight=2&without=b&similar_to={ONE}&similar_to_weight=3&good={ONE}&bad={TWO}&tag=sea"
        "&album=Trip&taken_after=2024-01-01&taken_before=2024-12-31&visibility=public"
        "&filter=width>8&mode=hybrid&legs=image:2&aggregate=max&order=-taken&diversity=0.5"
        "&encoders=both&band=likely&min_score=0.2&k=5"
    )
    assert {name for name, _ in to_parameters(query)} == set(PARAMETERS)
