from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gallery.ingest import MAX_CAPTION
from gallery.trees.sidecars import Said, SidecarBroken, parse

EVERYTHING = {
    "caption": "Boats", "captions": ["Two boats", {"a": 1}], "tags": ["Sea", "boat"],
    "album": "Summer", "category": "trip", "metadata": {"rating": 5}, "licence": "CC0",
    "source_url": "https://example.org/1", "attribution": "Ann", "visibility": "private",
    "taken_at": "2024-05-06T07:08:09+02:00", "camera": "X", "latitude": 48.1, "longitude": 11.5,
    "mood": "calm",
}  # fmt: skip


def of_json(said: object) -> Said:
    return parse("a.json", json.dumps(said).encode())


def test_json_says_all_that_a_description_has():
    about = of_json(EVERYTHING | {"captions": ["Two boats", ["flickr", "Boote"]]}).about
    assert about.caption == "Boats"
    assert about.captions == (("sidecar", "Two boats"), ("flickr", "Boote"))
    assert about.tags == ("boat", "sea")
    assert about.metadata == {"rating": 5, "mood": "calm"}
    assert about.taken_at == datetime.fromisoformat("2024-05-06T07:08:09+02:00")
    assert (about.latitude, about.longitude) == (48.1, 11.5)
    assert (about.album, about.category, about.licence) == ("Summer", "trip", "CC0")
    assert (about.attribution, about.visibility, about.camera) == ("Ann", "private", "X")
    assert about.source_url == "https://example.org/1"


def test_other_words_for_the_fields_are_understood():
    about = of_json(
        {"url": "https://e.org", "license": "MIT", "tags": "a, b", "caption": None}
    ).about
    assert (about.source_url, about.licence, about.tags) == ("https://e.org", "MIT", ("a", "b"))


def test_a_text_is_a_caption_with_or_without_a_mark_at_its_beginning():
    assert parse("a.txt", "\ufeffÜber\n".encode()).about.caption == "Über"


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (EVERYTHING, "captions"),
        ({"caption": 5}, "caption: Input should be a valid string"),
        ({"caption": "x" * (MAX_CAPTION + 1)}, "characters"),
        ({"caption": "a\0b"}, "control characters"),
        ({"captions": ["x"] * 21}, "more than 20 captions"),
        ({"tags": [str(n) for n in range(51)]}, "50 tags"),
        ({"latitude": 1}, "needs a latitude and a longitude"),
        ({"latitude": 91, "longitude": 0}, "latitude"),
        ({"latitude": float("nan"), "longitude": 0}, "latitude"),
        ({"url": "javascript:alert(1)"}, "not an http"),
        ({"visibility": "all"}, "visibility"),
        ({"taken_at": "yesterday"}, "taken_at"),
        ({"taken_at": "0001-01-01T00:00:00+14:00"}, "Nothing was photographed in 1"),
        ({"metadata": {"a": float("inf")}}, "metadata"),
        ({"x": "y" * 200_000}, "metadata"),
        ([1], "no JSON object"),
    ],
)  # fmt: skip
def test_what_the_gallery_would_refuse_is_said_in_a_sentence(said, sentence):
    with pytest.raises(SidecarBroken, match=sentence):
        of_json(said)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"9" * 300_000, b'{"caption": "\\ud800"}', b"null"],
)
def test_broken_json_is_said_in_a_sentence(content):
    with pytest.raises(SidecarBroken):
        parse("a.json", content)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
OURS = st.sampled_from(sorted(EVERYTHING))
TAKEOUT = st.sampled_from(
    ["title", "description", "geoData", "geoDataExif", "people", "url", "trashed", "photoTakenTime"]
)


@given(st.dictionaries(OURS | TAKEOUT | st.text(max_size=5), JSON, max_size=6))
@example({"photoTakenTime": {"timestamp": "9" * 400}})
def test_any_json_is_understood_or_refused(said):
    try:
        about = of_json(said).about
    except SidecarBroken:
        return
    json.dumps(about.to_json(), allow_nan=False).encode()


@given(
    st.fixed_dictionaries(
        {"photoTakenTime": st.dictionaries(st.just("timestamp"), JSON | st.integers().map(str))},
        optional={
            "geoData": st.dictionaries(st.sampled_from(["latitude", "longitude"]), JSON),
            "description": st.text() | JSON,
            "people": st.lists(st.dictionaries(st.just("name"), JSON)) | JSON,
            "url": st.text() | JSON,
        },
    )
)
def test_any_takeout_file_is_understood_or_refused(said):
    try:
        about = of_json(said).about
    except SidecarBroken:
        return
    json.dumps(about.to_json(), allow_nan=False).encode()
    assert about.taken_at is None or about.taken_at.tzinfo is UTC


@given(st.binary(max_size=200))
def test_any_bytes_are_understood_or_refused(content):
    for name in ("a.json", "a.txt"):
        try:
            parse(name, content).about.caption.encode()
        except SidecarBroken:
            pass
