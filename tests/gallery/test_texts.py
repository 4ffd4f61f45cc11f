from __future__ import annotations

import pytest

from gallery import texts
from gallery.errors import ImageRefused


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("boat.jpg", "boat.jpg"),
        ("../../etc/passwd", "passwd"),
        (r"C:\Users\ann\boat.jpg", "boat.jpg"),
        ("..", ""),
        ("a/", ""),
        ("boat\x00.jpg", "boat.jpg"),
        ("boat\r\nSet-Cookie: x.jpg", "boatSet-Cookie: x.jpg"),
        ("gpj.\u202eexe", "gpj.exe"),
        ("e\u0301te\u0301.jpg", "\u00e9t\u00e9.jpg"),
        ("lone\ud800.jpg", "lone.jpg"),
        ("<script>.jpg", "<script>.jpg"),  # a page escapes it, as any text
        ("x" * 4000 + ".jpg", "x" * 251 + ".jpg"),
        ("y" * 4000, "y" * 255),
    ],
)
def test_a_file_name_is_made_fit_to_show(name, shown):
    assert texts.file_name(name) == shown


def test_tags_are_lower_case_once_and_sorted():
    names = [" Boat", "boat", "", "Étoile", "e\u0301toile", "a\u202eb", "two\n words"]
    assert texts.tags(names) == ("ab", "boat", "two words", "étoile")


@pytest.mark.parametrize(
    "names", [["x" * 101], [f"t{n}" for n in range(51)], ["a\x00b"], ["\ud800"]]
)
def test_tags_that_cannot_be_are_refused(names):
    with pytest.raises(ImageRefused):
        texts.tags(names)


@pytest.mark.parametrize(
    "value",
    [
        [1, 2],
        {"a": float("nan")},
        {"a": "\x00"},
        {"\x00": 1},
        {"a": "\ud800"},
        {"a": object()},
        {"a": "x" * 100_000},
        {"a": 10**5000},
    ],
)
def test_metadata_that_postgres_cannot_hold_is_refused(value):
    with pytest.raises(ImageRefused):
        texts.metadata(value)


def test_metadata_that_are_nested_without_end_are_refused() -> None:
    nested: dict[str, object] = {}
    nested["again"] = nested
    with pytest.raises(ImageRefused):
        texts.metadata(nested)


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "data:text/html,x", "ftp://a.example/x", "http://", "no address"]
)
def test_only_web_addresses_are_source_urls(url):
    with pytest.raises(ImageRefused):
        texts.http_url(url, longest=2000)
