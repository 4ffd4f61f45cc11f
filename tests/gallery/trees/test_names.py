from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gallery.trees import names


@given(st.binary(max_size=60))
def test_every_name_has_a_key_of_its_own_that_leads_back_to_it(raw):
    path = os.fsdecode(raw)
    key = names.key_of(path)
    key.encode()
    assert key.isprintable()
    assert names.path_of(key) == path


@given(st.text(max_size=30))
def test_a_key_that_no_name_has_is_refused_or_leads_to_one_that_has(key):
    try:
        path = names.path_of(key)
    except ValueError:
        return
    assert names.path_of(names.key_of(path)) == path


@pytest.mark.parametrize("key", [r"a\x41", r"\q", r"a\#2", "\\", r"\u0041", r"\UFFFFFFFF"])
def test_another_spelling_of_a_name_is_no_key(key):
    with pytest.raises(ValueError):  # noqa: PT011 - chr() has words of its own
        names.path_of(key)


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("a.JPG", ".jpg"), ("a.b.png", ".png"), ("a", ""), (".jpg", ""), ("a.jpg ", ".jpg"),
        ("a.jpg\n", ".jpg"), ("a\u202e.jpg", ".jpg"), ("a.\u202ejpg", ".jpg"), ("", ""),
        ("a.", "."), ("\udcff.jpg", ".jpg"),
    ],
)  # fmt: skip
def test_the_suffix_is_what_a_person_sees(name, suffix):
    assert names.suffix_of(name) == suffix
