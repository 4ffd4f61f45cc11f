"""Hostile bytes in every list: what comes out is items, named rows, or one sentence.

More of them: `HYPOTHESIS_EXAMPLES=100000 bin/test tests/gallery/importers/test_list_fuzz.py`.
"""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from gallery.importers import Source, SourceUnreadable
from gallery.importers.coco import Coco
from gallery.importers.openimages import OpenImages
from gallery.importers.tables import Table
from gallery.importers.urls import Urls
from tests.fuzz.targets import TARGETS
from tests.gallery.importers.listing import fits

FUZZ = settings(
    max_examples=int(os.environ.get("HYPOTHESIS_EXAMPLES", "30")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)

CELLS = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        [
            "https://e.org/1.jpg", "http://[", "../../etc/passwd", "a.jpg", "nan", "1e999",
            "9" * 400, "2017-03-01T00:00:00+99:99", "0000:00:00 00:00:00", "[1, [2", '["a", null]',
            "\0", '"', "\ud800", "\u202e", "x" * 20_000, "1_000", "٣", "-0.0", "=cmd()", "\r", "\n",
        ]
    ),
)  # fmt: skip
HEADERS = st.lists(
    st.sampled_from(
        [
            "url", "path", "caption", "title", "tags", "licence", "author", "date", "lat", "lon",
            "photo_id", "photo_image_url", "ImageID", "OriginalURL", "LabelName", "other", "",
        ]
    ),
    min_size=1,
    max_size=8,
)  # fmt: skip
JSON_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), CELLS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(CELLS, inner, max_size=4)),
    max_leaves=12,
)


@st.composite
def delimited(draw):
    """Bytes that are nearly a table: its text, cut and spoiled."""
    delimiter = draw(st.sampled_from([",", "\t", ";"]))
    rows = draw(st.lists(st.lists(CELLS, max_size=9), max_size=6))
    lines = [delimiter.join(row) for row in [draw(HEADERS), *rows]]
    text = draw(st.sampled_from(["\n", "\r\n", "\r"])).join(lines)
    encoding = draw(st.sampled_from(["utf-8", "utf-16", "latin-1"]))
    return draw(spoiled(text.encode(encoding, errors="replace")))


@st.composite
def spoiled(draw, content):
    at = draw(st.integers(0, len(content)))
    removed = draw(st.sampled_from([0, 0, 1, len(content)]))
    return content[:at] + draw(st.binary(max_size=8)) + content[at + removed :]


def listed(source: Source) -> None:
    """Read the source to its end; all that it lists fits into the ledger and the record."""
    try:
        for one in source.items():
            fits(one)
    except SourceUnreadable:
        pass  # the one thing that may be raised


@FUZZ
@given(st.one_of(delimited(), st.binary(max_size=300)))
@example(b'\xef\xbb\xbf{"url"')
@example(b"\xff\xfeu")
@example(b"url\n" + b'"' * 10)
def test_any_bytes_as_a_table(content):
    with TemporaryDirectory() as folder:
        path = Path(folder, "table.csv")
        path.write_bytes(content)
        listed(Table(file=str(path)))
        listed(Table(file=str(path), columns="url,caption", encoding="utf-16-le"))
        listed(Urls(file=str(path)))


@FUZZ
@given(st.lists(st.dictionaries(st.one_of(CELLS, st.just("url")), JSON_VALUES), max_size=4))
def test_any_objects_as_json_lines(rows):
    with TemporaryDirectory() as folder:
        path = Path(folder, "table.jsonl")
        path.write_text("\n".join(json.dumps(row) for row in rows))
        listed(Table(file=str(path)))


@FUZZ
@given(delimited(), st.binary(max_size=100))
def test_any_bytes_as_open_images(images, labels):
    with TemporaryDirectory() as folder:
        paths = [Path(folder, name) for name in ("images.csv", "labels.csv")]
        paths[0].write_bytes(b"ImageID,OriginalURL,Title\n" + images)
        paths[1].write_bytes(b"ImageID,LabelName,Confidence\n" + labels)
        listed(OpenImages(tables=tuple(map(str, paths))))


@FUZZ
@given(
    st.fixed_dictionaries(
        {
            "images": st.lists(
                st.dictionaries(
                    st.sampled_from(["id", "file_name", "coco_url", "license", "other"]),
                    JSON_VALUES,
                )
            ),
            "annotations": st.lists(
                st.dictionaries(
                    st.sampled_from(["image_id", "caption", "category_id"]), JSON_VALUES
                )
            ),
            "categories": JSON_VALUES,
            "licenses": st.lists(JSON_VALUES, max_size=3),
        }
    ),
    st.data(),
)
def test_any_json_as_coco(content, data):
    with TemporaryDirectory() as folder:
        path = Path(folder, "annotations.json")
        path.write_bytes(data.draw(spoiled(json.dumps(content).encode())))
        listed(Coco(annotations=str(path)))
        listed(Coco(annotations=str(path), images=folder))


@pytest.fixture(scope="module")
def parquet_file():
    file = io.BytesIO()
    table = pyarrow.table(
        {
            "url": [f"https://e.org/{number}" for number in range(50)],
            "tags": [["a", "b"]] * 50,
            "about": [{"a": 1, "b": None}] * 50,
            "seconds": pyarrow.array(range(50), pyarrow.timestamp("s")),
        }
    )
    parquet.write_table(table, file, row_group_size=20)
    return file.getvalue()


@FUZZ
@given(st.data())
def test_any_bytes_in_a_parquet_file(parquet_file, data):
    content = bytearray(parquet_file)
    for _ in range(data.draw(st.integers(0, 5))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.sampled_from([len(content), len(content), data.draw(st.integers(4, 3000))]))
    TARGETS["parquet"].read(content[:cut])
