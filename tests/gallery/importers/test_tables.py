"""Tables of addresses and paths: what becomes of their columns, and of rows that are wrong."""

from __future__ import annotations

import errno
import json
import os
import re
import resource
import signal
import struct
import subprocess
import time
import tracemalloc
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from gallery import texts
from gallery.importers import Item, ItemUnreadable, SourceAway, SourceUnreadable
from gallery.importers.tables import Table
from gallery.tables import values
from gallery.tables.folders import ImageFolder
from gallery.tables.opening import open_table
from tests.gallery.importers.listing import items, keys, only, reasons


@pytest.fixture
def written(tmp_path):
    """Return a function that writes a table and returns it as a source."""

    def write(content, name="table.csv", **options):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return Table(file=str(path), **options)

    return write


@pytest.fixture
def written_parquet(tmp_path):
    def write(columns, **options):
        path = tmp_path / "table.parquet"
        parquet.write_table(pyarrow.table(columns), path)
        return Table(file=str(path), **options)

    return write


def test_an_address_is_the_key_and_the_source_of_its_image(written):
    item = only(written("url\nhttps://example.org/a/red%20car.jpg?x=1\n"))

    assert item.key == item.url == "https://example.org/a/red%20car.jpg?x=1"
    assert item.name == "red car.jpg"
    assert item.version == ""
    assert item.about.source_url == item.url


def test_usual_columns_are_recognised_and_all_others_become_metadata(written):
    item = only(
        written(
            "Image URL,Caption,Keywords,License,Photographer,Date Taken,lat,lon,album,class,camera,"
            "page_url,width,height,views,ratio,code,is_sharp,empty\n"
            "https://example.org/a.jpg,A red car.,car|red,"
            "https://creativecommons.org/licenses/by-nc-sa/2.0/,Ann Lee,2017-03-01T12:33:01Z,"
            "52.5,13.4,Berlin,vehicle,Leica M3,https://example.org/a,640,480,12,1.5,0042,true,\n"
        )
    )

    about = item.about
    assert about.caption == "A red car."
    assert about.tags == ("car", "red")
    assert about.licence == "CC BY-NC-SA 2.0"
    assert about.attribution == "Ann Lee"
    assert about.taken_at == datetime(2017, 3, 1, 12, 33, 1, tzinfo=UTC)
    assert (about.latitude, about.longitude) == (52.5, 13.4)
    assert (about.album, about.category, about.camera) == ("Berlin", "vehicle", "Leica M3")
    assert about.source_url == "https://example.org/a"
    assert about.metadata == {"views": 12, "ratio": 1.5, "code": "0042", "is_sharp": True}


def test_the_first_text_is_the_caption_and_the_others_are_further_ones(written):
    item = only(written("url,title,alt,caption\nhttps://e.org/1,A title,An alt,A caption\n"))

    assert item.about.caption == "A caption"
    assert item.about.captions == (("alt", "An alt"), ("title", "A title"))


def test_a_chosen_column_goes_before_a_known_one(written):
    item = only(
        written(
            "url,big,caption,words\nhttps://e.org/s.jpg,https://e.org/b.jpg,No,Yes\n",
            url_column="big",
            caption_column="words",
        )
    )

    assert item.url == "https://e.org/b.jpg"
    assert item.about.caption == "Yes"
    assert item.about.metadata == {"url": "https://e.org/s.jpg", "caption": "No"}


def test_a_chosen_column_that_is_not_there_is_refused_with_those_that_are(written):
    with pytest.raises(SourceUnreadable, match=r"no column “words” \(caption_column\).*url, text"):
        list(written("url,text\nhttps://e.org/1,x\n", caption_column="words").items())


def test_a_table_without_addresses_names_its_columns_and_the_option(written):
    with pytest.raises(SourceUnreadable, match=r"url_column or path_column.*: id, colour\."):
        list(written("id,colour\n1,red\n").items())


@pytest.mark.parametrize(
    ("tags", "separator", "expected"),
    [
        ("red; blue, green", "", ("red", "blue, green")),
        ("red, blue", "", ("red", "blue")),
        ("red|blue;x", "", ("red", "blue;x")),
        ("red blue", " ", ("red", "blue")),
        ('["Red", "Blue"]', "", ("red", "blue")),
        ("[not json", "", ("[not json",)),
        ("", "", ()),
    ],
)
def test_tags_are_split_by_their_separator(written, tags, separator, expected):
    cell = '"' + tags.replace('"', '""') + '"'
    table = written(f"url,tags\nhttps://e.org/1,{cell}\n", tags_separator=separator)
    assert only(table).about.tags == expected


def test_tags_that_are_too_many_or_too_long_are_kept_as_metadata(written):
    names = [f"t{number}" for number in range(texts.MAX_TAGS + 2)] + ["x" * (texts.MAX_TAG + 1)]
    about = only(written(f"url,tags\nhttps://e.org/1,{'|'.join(names)}\n")).about

    assert about.tags == tuple(names[: texts.MAX_TAGS])
    assert about.metadata["more_tags"] == names[texts.MAX_TAGS :]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("taken_at", "yesterday"),
        ("taken_at", "0001-01-01T00:00:00+14:00"),
        ("latitude", "91"),
        ("latitude", "nan"),
        ("album", "a" * 201),
        ("licence", "l" * 201),
        ("source_url", "javascript:alert(1)"),
    ],
)
def test_what_a_field_cannot_hold_becomes_metadata(written, column, value):
    about = only(written(f"url,{column},longitude\nhttps://e.org/1,{value},5\n")).about

    assert about.metadata[column] == value if value != "91" else 91
    assert about.latitude is None
    assert about.taken_at is None


def test_metadata_that_is_too_much_leaves_out_its_longest_and_says_so(written):
    about = only(written(f"url,small,large\nhttps://e.org/1,kept,{'x' * 120_000}\n")).about

    assert about.metadata == {"small": "kept", "left_out": ["large"]}
    assert texts.metadata(about.metadata)


def test_paths_are_relative_to_the_tables_own_folder(written, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(b"bytes")
    table = written("file_name,text\nin/a.jpg,A car\n", name="metadata.csv")
    item = only(table)

    assert (item.key, item.name, item.url) == ("in/a.jpg", "a.jpg", "")
    assert item.version.startswith("5:")
    with table.open(item.key) as file:
        assert file.read() == b"bytes"


def test_nothing_outside_of_the_images_folder_is_opened(written, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    (images / "a.jpg").write_bytes(b"inside")
    (tmp_path / "secret.jpg").write_bytes(b"outside")
    (images / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    (images / "loop.jpg").symlink_to(images / "loop.jpg")
    paths = [f"{images}/a.jpg", "../secret.jpg", f"{tmp_path}/secret.jpg", "link.jpg", "loop.jpg"]
    paths += ["/etc/passwd", ".", "missing.jpg", "n" * 5000]
    table = written("path\n" + "\n".join(paths), images=str(images))

    listed = items(table)

    assert listed[0].key == "a.jpg"
    with table.open("a.jpg") as file:
        assert file.read() == b"inside"
    for item in listed[1:]:
        with pytest.raises(ItemUnreadable, match="There is no file"):
            table.open(item.key)


def test_paths_of_a_fetched_table_ask_for_their_folder(tmp_path):
    with pytest.raises(SourceUnreadable, match="which folder"):
        Table(file="https://example.org/t.csv").open("a.jpg")


def test_a_column_of_files_may_hold_addresses(written):
    assert only(written("image,text\nhttps://e.org/1.jpg,x\n")).url == "https://e.org/1.jpg"


def test_the_second_row_of_an_address_is_named(written):
    table = written("url,caption\nhttps://e.org/1,one\nhttps://e.org/2,two\nhttps://e.org/1,more\n")

    assert reasons(table) == {"row 3": "Row 3 names the same image as an earlier one."}


@pytest.mark.parametrize("url", ["ftp://e.org/1.jpg", "file:///etc/passwd", "e.org/1.jpg", ""])
def test_a_cell_that_is_no_address_is_named(written, url):
    (reason,) = reasons(written(f"url,x\n{url},1\n")).values()
    assert reason.startswith("Row 1: the address ")


@pytest.mark.parametrize(
    ("name", "delimiter"),
    [("a.csv", ","), ("a.csv", "\t"), ("a.tsv", "\t"), ("a.txt", ";"), ("a.tsv000", "|")],
)
def test_the_delimiter_is_recognised_by_the_header(written, name, delimiter):
    text = delimiter.join(("url", "caption")) + "\n" + delimiter.join(("https://e.org/1", "A car"))
    assert only(written(text, name=name)).about.caption == "A car"


@pytest.mark.parametrize(
    ("encoding", "mark", "said"),
    [
        ("utf-8", b"", "auto"),
        ("utf-8", b"\xef\xbb\xbf", "auto"),
        ("utf-16-le", b"\xff\xfe", "auto"),
        ("utf-16-be", b"\xfe\xff", "auto"),
        ("utf-16-le", b"", "utf-16-le"),
        ("cp1252", b"", "cp1252"),
        ("shift_jis", b"", "shift_jis"),
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_encodings_are_recognised_or_said(written, encoding, mark, said, as_json):
    caption = "車" if encoding == "shift_jis" else "Ein schönes Auto"
    text = f"url,caption\nhttps://e.org/1,{caption}\n"
    if as_json:
        row = {"url": "https://e.org/1", "caption": caption}
        text = json.dumps(row, ensure_ascii=False)
    assert only(written(mark + text.encode(encoding), encoding=said)).about.caption == caption


def test_a_row_that_is_not_utf_8_is_named_and_all_others_come(written):
    table = written(b"url,caption\nhttps://e.org/1,sch\xf6n\nhttps://e.org/2,fine\n")

    assert reasons(table) == {
        "row 1": "Row 1 (line 2) is not UTF-8 text; save the file as UTF-8, or say its encoding."
    }
    assert [one.key for one in table.items() if isinstance(one, Item)] == ["https://e.org/2"]


def test_text_that_is_not_in_the_encoding_said_names_the_line(written):
    with pytest.raises(SourceUnreadable, match=r"after line 0 is not shift_jis"):
        list(written(b"url\nhttps://e.org/\x80\xff\n", encoding="shift_jis").items())


@pytest.mark.parametrize("start", [b"\xff\xfe\0\0u\0\0\0", b"u\0r\0l\0"])
def test_text_of_wide_characters_without_a_mark_is_refused(written, start):
    with pytest.raises(SourceUnreadable, match=r"UTF-32|without a mark"):
        list(written(start).items())


def test_ragged_rows_and_stray_quotes_are_named_with_their_lines(written):
    table = written(
        "url,caption\n"
        "https://e.org/1,one,more\n"
        "https://e.org/2\n"
        '"https://e.org/3"x,three\n'
        '\nhttps://e.org/4,"two\nlines"\n'
        "https://e.org/5,nul\0\n"
        'https://e.org/6,"never closed\n'
    )
    assert reasons(table) == {
        "row 1": "Row 1 (line 2) has 3 cells where the header has 2.",
        "row 2": "Row 2 (line 3) has 1 cells where the header has 2.",
        "row 3": "Row 3 (line 4) cannot be read as a row: ',' expected after '\"'.",
        "row 5": "Row 5 (line 8) holds a NUL character.",
        "row 6": "Row 6 (line 9) cannot be read as a row: unexpected end of data.",
    }
    (fourth,) = (one for one in table.items() if isinstance(one, Item))
    assert fourth.about.caption == "two\nlines"


def test_an_open_quote_costs_a_bounded_number_of_rows(written):
    rows = "".join(f"https://e.org/{number},{'x' * 90}\n" for number in range(10_000))
    table = written(f'url,caption\nhttps://e.org/bad,"open\n{rows}')

    listed = list(table.items())

    assert "field larger than field limit" in next(iter(reasons(table).values()))
    assert len([one for one in listed if isinstance(one, Item)]) > 8_000


def test_an_endless_line_is_named_and_never_held(written):
    table = written(f"url,caption\nhttps://e.org/1,{'x' * 5_000_000}\nhttps://e.org/2,fine\n")
    assert list(reasons(table)) == ["row 1"]
    assert "longer than" in reasons(table)["row 1"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "empty"),
        (b"\n\n", "empty"),
        (b"x" * 2_000_000, "no table"),
        (b"https://e.org/1.jpg\nhttps://e.org/2.jpg\n", "no header"),
        (b'"open,url\n', "open quote"),
        (b'[{"url": "https://e.org"}]', "JSON array"),
        (b"," * 5000, "no table"),
        (b"PAR1 and no more", "Parquet file cannot be read"),
        (b'{"broken\n{"also', "no line with a JSON object"),
        (bytes(range(256)), "url_column|no table|no text"),
    ],
)
def test_what_is_no_table_is_refused_with_a_sentence(written, content, sentence):
    with pytest.raises(SourceUnreadable, match=sentence):
        list(written(content).items())


@pytest.mark.parametrize("place", ["missing.csv", ".", "nul\0.csv"])
def test_a_table_that_is_not_there_is_refused(tmp_path, place):
    with pytest.raises(SourceUnreadable, match="There is no file"):
        list(Table(file=f"{tmp_path}/{place}").items())


def test_columns_of_a_table_without_a_header_can_be_named(written):
    table = written("A red car\thttps://e.org/1\nA bus\thttps://e.org/2\n", columns="caption,url")

    assert [item.about.caption for item in items(table)] == ["A red car", "A bus"]


def test_json_lines_keep_their_types(written):
    row = {
        "url": "https://e.org/1",
        "caption": ["One", "Two"],
        "tags": ["Red", "Car"],
        "views": 3,
        "score": 0.5,
        "is_sharp": False,
        "nested": {"a": [1, None]},
        "nothing": None,
        "": "unnamed",
    }
    about = only(written(json.dumps(row), name="t.jsonl")).about

    assert (about.caption, about.captions) == ("One", (("caption", "Two"),))
    assert about.tags == ("red", "car")
    assert about.metadata == {
        "views": 3, "score": 0.5, "is_sharp": False, "nested": {"a": [1, None]},
        "unnamed": "unnamed",
    }  # fmt: skip


def test_lines_that_are_no_json_objects_are_named(written):
    lines = [
        '{"url": "https://e.org/1", "odd": NaN}',
        "{broken",
        "[1]",
        '{"url": "https://e.org/2", "a": ' + "[" * 100_000,
        '{"url": "https://e.org/3", "a": ' + "[" * 60 + "]" * 60 + "}",
        '{"url": "https://e.org/4", "a": "\\u0000"}',
        '{"url": "https://e.org/5", "a": "\\ud800"}',
        '{"url": "https://e.org/6", "a": ' + "9" * 5000 + "}",
        '{"url": "https://e.org/7", "a": 1e999}',
        '{"a": 1}',
    ]
    table = written("\n".join(lines), name="t.jsonl")

    found = reasons(table)
    assert list(found) == [f"row {number}" for number in (2, 3, 4, 5, 6, 7, 8, 10)]
    assert "is not JSON" in found["row 2"]
    assert "is no JSON object" in found["row 3"]
    assert "nested too deeply" in found["row 4"]
    assert "nested too deeply" in found["row 5"]
    assert "NUL" in found["row 6"]
    kept = [one for one in table.items() if isinstance(one, Item)]
    assert [item.key for item in kept] == ["https://e.org/1", "https://e.org/7"]
    assert [item.about.metadata for item in kept] == [{}, {}]


def test_parquet_keeps_its_types_and_leaves_out_bytes(written_parquet):
    about = only(
        written_parquet(
            {
                "url": ["https://e.org/1"],
                "caption": ["A car"],
                "tags": [["Red", "Car"]],
                "taken_at": [datetime(2017, 3, 1, 12, 33, tzinfo=UTC)],
                "views": [3],
                "price": [Decimal("1.50")],
                "day": [date(2017, 3, 1)],
                "bytes": [b"\xff\xd8"],
                "image": [{"bytes": b"\xff\xd8", "path": "a.jpg"}],
            }
        )
    ).about

    assert about.caption == "A car"
    assert about.tags == ("red", "car")
    assert about.taken_at == datetime(2017, 3, 1, 12, 33, tzinfo=UTC)
    assert about.metadata == {"views": 3, "price": 1.5, "day": "2017-03-01"}


def test_parquet_rows_that_cannot_be_read_are_named(written_parquet):
    offsets = struct.pack("<4i", 0, 4, 8, 12)
    captions = pyarrow.StringArray.from_buffers(
        3, pyarrow.py_buffer(offsets), pyarrow.py_buffer(b"finesc\xf6nnul\0")
    )
    table = written_parquet(
        {"url": [f"https://e.org/{number}" for number in range(3)], "caption": captions}
    )
    found = reasons(table)
    assert list(found) == ["row 2", "row 3"]
    assert "cannot be read" in found["row 2"]
    assert "NUL" in found["row 3"]


def test_a_broken_parquet_file_is_refused_with_a_sentence(written_parquet):
    table = written_parquet({"url": [f"https://e.org/{number}" for number in range(5000)]})
    with Path(table.file).open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 2000)

    with pytest.raises(SourceUnreadable, match="Parquet file cannot be read"):
        list(table.items())


def test_a_small_parquet_file_that_stands_for_gigabytes_is_refused(written_parquet):
    long = pyarrow.DictionaryArray.from_arrays(
        pyarrow.array([0] * 1000, pyarrow.int32()), pyarrow.array(["x" * 20_000_000])
    )
    table = written_parquet({"url": ["https://e.org/1"] * 1000, "caption": long})
    assert Path(table.file).stat().st_size < 2_000_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kilobytes
    with pytest.raises(SourceUnreadable, match="more memory than a table may"):
        list(table.items())
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_a_row_of_a_parquet_file_that_is_too_long_is_named(written_parquet):
    found = reasons(
        written_parquet({"url": ["https://e.org/1", "https://e.org/2"], "x": ["y" * 5_000_000, ""]})
    )
    assert found == {"row 1": "Row 1 is longer than 1,048,576 characters."}


def test_the_process_that_reads_parquet_ends_with_the_reading(written_parquet):
    table = written_parquet({"url": [f"https://e.org/{number}" for number in range(50_000)]})
    rows = table.items()
    next(rows)
    (reader,) = readers()
    rows.close()
    assert reader not in readers()


def readers() -> set[str]:
    """Return the processes of ours that read Parquet."""
    found = subprocess.run(
        ["pgrep", "-P", str(os.getpid()), "-f", "parquet_child"], capture_output=True, text=True
    )
    return set(found.stdout.split())


def test_a_parquet_reader_that_dies_is_told_as_what_it_is(written_parquet):
    table = written_parquet({"url": [f"https://e.org/{number}" for number in range(200_000)]})
    rows = table.items()
    next(rows)
    (reader,) = readers()
    os.kill(int(reader), signal.SIGSEGV)
    with pytest.raises(SourceUnreadable, match="makes its reader crash"):
        list(rows)


def test_the_first_json_lines_are_not_all_held_in_memory(written):
    row = json.dumps({"url": "https://e.org/1", "text": "x" * 900_000})
    table = written("\n".join([row] * 60))
    tracemalloc.start()
    try:
        with open_table(table.file) as opened:
            assert opened.columns == ("url", "text")
            assert tracemalloc.get_traced_memory()[0] < 20_000_000
            assert sum(1 for _ in opened.rows()) == 60
    finally:
        tracemalloc.stop()


def test_paths_below_another_folder_are_those_of_another_place(written):
    places = {written("path\na.jpg\n", images=images).place for images in ("", "a", "b")}
    assert len(places) == 3


def test_who_sent_a_table_is_not_told_where_it_lies(written, tmp_path, caplog):
    lost = written("path\na.jpg\n", images=str(tmp_path / "no" / "photos"))
    with pytest.raises(SourceUnreadable) as caught:
        list(lost.items())
    assert str(caught.value) == "There is no folder photos: No such file or directory."
    assert str(tmp_path) in caplog.text
    with pytest.raises(SourceUnreadable) as caught:
        list(Table(file=str(tmp_path / "no.csv")).items())
    assert str(caught.value) == "There is no file no.csv."


def test_all_rows_of_all_formats_come_once(written, written_parquet):
    urls = [f"https://e.org/{number}" for number in range(3000)]
    as_lines = "\n".join(json.dumps({"url": url}) for url in urls)

    assert keys(written("url\r\n" + "\r\n".join(urls))) == urls
    assert keys(written(as_lines)) == urls
    assert keys(written_parquet({"url": urls})) == urls


def test_metadata_of_very_many_values_is_cut_in_no_time_and_is_not_refused():
    cells = {f"{number:05} " + "n" * 90: "x" * 100 for number in range(30_000)}
    began = time.process_time()
    kept = values.metadata(cells)
    assert time.process_time() - began < 5
    assert texts.metadata(kept) == kept
    assert len(kept["left_out"]) == 101
    assert re.fullmatch(r"and [0-9,]+ more", kept["left_out"][-1])


def test_a_folder_that_became_a_link_meanwhile_leads_out_of_no_folder(tmp_path, monkeypatch):
    for name in ("in", "out"):
        (tmp_path / name / "b").mkdir(parents=True)
        (tmp_path / name / "b" / "c.jpg").write_text(name)
    folder = ImageFolder(tmp_path / "in")
    real = folder._file

    def file(key):
        found = real(key)
        (tmp_path / "in" / "b").rename(tmp_path / "in" / "before")
        (tmp_path / "in" / "b").symlink_to(tmp_path / "out" / "b")
        return found

    monkeypatch.setattr(folder, "_file", file)
    with pytest.raises(ItemUnreadable, match="outside of the folder"):
        folder.open("b/c.jpg")


def test_a_missing_file_is_told_without_the_place_of_the_folder(tmp_path):
    (tmp_path / "b.jpg").touch()
    with pytest.raises(ItemUnreadable) as caught:
        ImageFolder(tmp_path).open("a.jpg")
    assert str(caught.value) == "There is no file a.jpg in the folder of images."


def test_a_folder_of_images_that_goes_away_stops_the_run_and_not_each_image(tmp_path):
    folder = tmp_path / "photos"
    (folder / "in").mkdir(parents=True)
    (folder / "in" / "a.jpg").write_text("a")
    images = ImageFolder(folder)
    with pytest.raises(ItemUnreadable, match=r"There is no file b\.jpg"):
        images.open("b.jpg")
    folder.rename(tmp_path / "away")
    with pytest.raises(SourceUnreadable, match="There is no folder photos"):
        images.open("in/a.jpg")
    folder.mkdir()  # as a mount point is when its disk is gone
    with pytest.raises(SourceUnreadable, match="The folder photos has been replaced"):
        images.open("in/a.jpg")
    with pytest.raises(SourceUnreadable, match=r"The folder photos is empty\. Is its disk there\?"):
        ImageFolder(folder)


def test_a_folder_of_images_that_does_not_answer_is_not_taken_for_one_without_them(
    tmp_path, monkeypatch
):
    (tmp_path / "a.jpg").write_text("a")
    folder = ImageFolder(tmp_path)

    def is_file(self):
        raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

    monkeypatch.setattr(Path, "is_file", is_file)
    with pytest.raises(SourceAway, match="does not answer: Transport endpoint is not connected"):
        folder.find("a.jpg")
    with pytest.raises(OSError, match="not connected"):
        folder.open("a.jpg")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_the_right_to_read_fails_alone(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_text("a")
    (tmp_path / "in").chmod(0)
    folder = ImageFolder(tmp_path)
    try:
        assert folder.find("in/a.jpg") is None
        with pytest.raises(ItemUnreadable, match="cannot be read: Permission denied"):
            folder.open("in/a.jpg")
    finally:
        (tmp_path / "in").chmod(0o700)
