from __future__ import annotations

import gzip
import tracemalloc
import zlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gallery.downloads.bodies import decoded, received
from gallery.downloads.errors import DownloadFailed
from tests.gallery.downloads.conftest import QUICK

LARGEST_PIECE = 2**16


def cut(body: bytes, at: list[int]) -> list[bytes]:
    edges = sorted({0, len(body), *(place % (len(body) + 1) for place in at)})
    return [body[begin:end] for begin, end in pairwise(edges)]


bodies = st.one_of(
    st.binary(max_size=5000),
    st.tuples(st.binary(min_size=1, max_size=3), st.integers(1, 200_000)).map(
        lambda parts: parts[0] * parts[1]
    ),
)


@given(st.lists(bodies, min_size=1, max_size=3), st.lists(st.integers(0, 2**20), max_size=8))
def test_a_compressed_body_is_the_same_however_it_was_cut(parts, at):
    zipped = b"".join(gzip.compress(part, mtime=0) for part in parts)
    pieces = list(decoded(cut(zipped, at), "gzip"))
    assert b"".join(pieces) == b"".join(parts)
    assert all(len(piece) <= LARGEST_PIECE for piece in pieces)


@given(bodies, st.lists(st.integers(0, 2**20), max_size=8), st.data())
def test_a_part_of_a_compressed_body_is_a_failure(body, at, data):
    zipped = gzip.compress(body, mtime=0)
    part = zipped[: data.draw(st.integers(0, len(zipped) - 1))]
    with pytest.raises(DownloadFailed):
        list(decoded(cut(part, at), "gzip"))


@given(st.binary(max_size=300), st.sampled_from(["gzip", "deflate"]))
def test_what_is_not_compressed_is_a_sentence(body, encoding):
    try:
        list(decoded([body], encoding))
    except DownloadFailed as failure:
        message = str(failure)
    else:
        message = "by chance it was."
    assert message.endswith(".")


def test_a_bomb_costs_no_memory():
    bomb = zlib.compress(bytes(300_000_000), 9)
    tracemalloc.start()
    try:
        with pytest.raises(DownloadFailed, match="larger than"):
            received([bomb], encoding="deflate", length=None, most_bytes=10**7, limits=QUICK)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10**7
