"""Lists of addresses, one a line."""

from __future__ import annotations

import pytest

from gallery.importers import Item, ItemUnreadable, SourceUnreadable
from gallery.importers.urls import Urls
from tests.gallery.importers.listing import items, reasons


@pytest.fixture
def listed(tmp_path):
    def write(content, **options):
        path = tmp_path / "list.txt"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return Urls(file=str(path), **options)

    return write


def test_each_line_is_an_image_that_has_its_address_as_source(listed):
    first, second = items(
        listed("# cars\nhttps://e.org/red.jpg#top\r\n\n  HTTP://e.org/blue.jpg?x=1  ")
    )

    assert first.key == first.url == first.about.source_url == "https://e.org/red.jpg#top"
    assert (second.key, second.name) == ("HTTP://e.org/blue.jpg?x=1", "blue.jpg")


def test_an_address_has_one_place_whichever_list_it_is_in(listed):
    assert listed("https://e.org/1").place == Urls(file="other.txt").place


@pytest.mark.parametrize("mark", ["\ufeff", ""])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_encodings_are_recognised(listed, mark, encoding):
    content = (mark if encoding == "utf-8" else "") + "https://e.org/ä.jpg\n"
    assert [item.name for item in items(listed(content.encode(encoding)))] == ["ä.jpg"]


def test_lines_that_are_wrong_are_named_and_all_others_come(listed):
    source = listed(
        b"ftp://e.org/1\nhttps://e.org/\xff\nhttps://e.org/\0\n"
        + b"x" * 3_000_000
        + b"\nhttps://e.org/1\nhttps://e.org/1\nhttps://["
        + b"\nhttps://e.org/"
        + b"y" * 9000
    )
    found = reasons(source)
    assert found["line 1"] == "Line 1: the address “ftp://e.org/1” is no http or https address."
    assert "not UTF-8" in found["line 2"]
    assert "NUL" in found["line 3"]
    assert found["line 4"] == "Line 4 is too long for an address."
    assert found["line 6"] == "Line 6 has the same address as an earlier one."
    assert list(found) == ["line 1", "line 2", "line 3", "line 4", "line 6", "line 8"]
    kept = [one.key for one in source.items() if isinstance(one, Item)]
    assert kept == ["https://e.org/1", "https://["]


def test_a_list_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(SourceUnreadable, match="There is no file"):
        list(Urls(file=str(tmp_path / "none.txt")).items())


def test_a_list_opens_nothing_itself(listed):
    with pytest.raises(ItemUnreadable):
        listed("https://e.org/1").open("https://e.org/1")
