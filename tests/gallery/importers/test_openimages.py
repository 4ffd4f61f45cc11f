"""Open Images V7 in its own layout, with images that are not in it."""

from __future__ import annotations

import csv

import pytest

from gallery.importers import Item, Skipped, SourceUnreadable
from gallery.importers.openimages import OpenImages
from tests.gallery.importers.listing import items, keys, reasons

IMAGE_COLUMNS = (
    "ImageID", "Subset", "OriginalURL", "OriginalLandingURL", "License", "AuthorProfileURL",
    "Author", "Title", "OriginalSize", "OriginalMD5", "Thumbnail300KURL", "Rotation",
)  # fmt: skip
# As published, these are in no order; the labels are in order of their images.
IMAGES = [
    (
        "4fa8054781a4c382", "validation", "https://farm3.staticflickr.com/5310/58_o.jpg",
        "https://www.flickr.com/photos/michael/58", "https://creativecommons.org/licenses/by/2.0/",
        "https://www.flickr.com/people/michael/", "Michael B, D", 'die "Kerze"', "4405052",
        "KFukvivpCM5QXl5SqKe41g==", "https://c1.staticflickr.com/6/58_z.jpg", "90.0",
    ),
    (
        "000595fe6fee6369", "validation", "https://farm5.staticflickr.com/1/77_o.jpg",
        "https://www.flickr.com/photos/ann/77", "https://creativecommons.org/licenses/by/2.0/",
        "https://www.flickr.com/people/ann/", "Ann", "", "242145",
        "0jBpbNION09+r02xkTIBcA==", "", "",
    ),
]  # fmt: skip
LABELS = [
    ("ImageID", "Source", "LabelName", "Confidence"),
    ("000595fe6fee6369", "verification", "/m/0k4j", "1"),
    ("000595fe6fee6369", "verification", "/m/0bt9lr", "0"),
    ("000595fe6fee6369", "machine", "/m/0cgh4", "0.4"),
    ("4fa8054781a4c382", "crowdsource-verification", "/m/0unknown", "1"),
    ("4fa8054781a4c382", "verification", "/m/0cgh4", "0.8"),
    ("ffffffffffffffff", "verification", "/m/0k4j", "1"),
]
NAMES = [("/m/0k4j", "Car"), ("/m/0bt9lr", "Dog"), ("/m/0cgh4", "Building, tall")]


@pytest.fixture
def published(tmp_path):
    """Return a function that writes the tables and returns them as a source."""

    def write(*tables, **options):
        paths = []
        for number, rows in enumerate(tables):
            path = tmp_path / f"table{number}.csv"
            with path.open("w", newline="") as file:
                csv.writer(file).writerows(rows)
            paths.append(str(path))
        return OpenImages(tables=tuple(paths), **options)

    return write


def images(rows=IMAGES):
    return [IMAGE_COLUMNS, *rows]


def names():
    return [("LabelName", "DisplayName"), *NAMES]


def test_an_image_has_its_title_author_licence_and_page(published):
    first, second = items(published(images()))

    about = first.about
    assert first.key == first.url == IMAGES[0][2]
    assert about.caption == 'die "Kerze"'
    assert about.attribution == "Michael B, D"
    assert about.licence == "CC BY 2.0"
    assert about.source_url == "https://www.flickr.com/photos/michael/58"
    assert about.metadata == {
        "ImageID": "4fa8054781a4c382",
        "Subset": "validation",
        "AuthorProfileURL": "https://www.flickr.com/people/michael/",
        "OriginalSize": 4405052,
        "OriginalMD5": "KFukvivpCM5QXl5SqKe41g==",
        "Rotation": 90.0,
    }
    assert second.about.caption == ""
    assert "Rotation" not in second.about.metadata


@pytest.mark.parametrize("has_header", [True, False])
def test_labels_become_tags_by_their_names(published, has_header):
    table_of_names = names() if has_header else NAMES
    first, second = items(published(table_of_names, LABELS, images()))

    assert first.about.tags == ("/m/0unknown", "building, tall")
    assert second.about.tags == ("car",)


def test_labels_found_to_be_wrong_are_never_tags(published):
    _, second = items(published(names(), LABELS, images(), least_confidence=0))
    assert second.about.tags == ("car", "building, tall")


def test_labels_of_several_tables_are_joined_in_any_order_of_rows(published):
    mixed = [LABELS[0], *reversed(LABELS[1:])]
    boxes = [("ImageID", "LabelName", "XMin"), ("000595fe6fee6369", "/m/0bt9lr", "0.1")]
    first, second = items(published(mixed, boxes, names(), images()))

    assert set(first.about.tags) == {"/m/0unknown", "building, tall"}
    assert set(second.about.tags) == {"car", "dog"}


@pytest.mark.parametrize(
    ("address", "urls"),
    [
        ("original", [IMAGES[0][2], IMAGES[1][2]]),
        ("thumbnail", [IMAGES[0][10], IMAGES[1][2]]),
        (
            "copy",
            [
                f"https://s3.amazonaws.com/open-images-dataset/validation/{image[0]}.jpg"
                for image in IMAGES
            ],
        ),
    ],
)
def test_images_are_downloaded_from_where_is_asked(published, address, urls):
    assert keys(published(images(), address=address)) == urls


def test_an_image_that_two_tables_list_comes_once(published):
    assert len(items(published(images(), images(IMAGES[:1])))) == 2


def test_of_a_folder_only_its_own_images_come_and_the_rest_is_said(published, tmp_path):
    folder = tmp_path / "images"
    (folder / "validation").mkdir(parents=True)
    (folder / "validation" / "000595fe6fee6369.jpg").write_bytes(b"bytes")
    (folder / "stranger.jpg").write_bytes(b"other")
    source = published(images(), names(), LABELS, images=str(folder))

    item, *left_out = source.items()

    assert (item.key, item.url) == ("validation/000595fe6fee6369.jpg", "")
    assert item.about.tags == ("car",)
    with source.open(item.key) as file:
        assert file.read() == b"bytes"
    assert left_out == [
        Skipped(
            key="images not in the folder", reason="1 images of the tables are not in the folder."
        ),
        Skipped(key="stranger.jpg", reason="None of the tables lists an image of this name."),
    ]


def test_a_folder_that_goes_away_meanwhile_lacks_no_images(published, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    source = published(images(), images=str(folder))
    with pytest.raises(SourceUnreadable, match="The folder images is empty"):
        list(source.items())
    (folder / "4fa8054781a4c382.jpg").write_bytes(b"bytes")
    listed = source.items()
    assert isinstance(next(listed), Item)
    folder.rename(tmp_path / "away")
    folder.mkdir()  # as a mount point is when its disk is gone
    with pytest.raises(SourceUnreadable, match="The folder images has been replaced"):
        list(listed)


def test_rows_that_are_wrong_are_named(published):
    found = reasons(published(images([IMAGES[0], ("short",)])))
    assert found == {"row 2": "Row 2 (line 3) has 1 cells where the header has 12."}


def test_tables_without_images_are_refused(published):
    with pytest.raises(SourceUnreadable, match="None of the tables lists images"):
        items(published(LABELS, names()))


def test_a_table_of_something_else_is_refused(published):
    with pytest.raises(SourceUnreadable, match="is no table of Open Images"):
        items(published(images(), [("url", "caption"), ("https://e.org/1", "x")]))


def test_a_broken_table_of_labels_stops_the_run_with_its_line(published):
    with pytest.raises(SourceUnreadable, match=r"table1.csv: Row 1 \(line 2\) has 1 cells"):
        items(published(images(), [LABELS[0], ("alone",)]))


@pytest.mark.parametrize(
    ("labels", "names", "sentence"),
    [
        ('{"LabelName": "/m/0k4j"}', "", "labels.jsonl: Row 2 has no ImageID."),
        ('{"ImageID": ["a"]}', "", "labels.jsonl: Row 2 has no ImageID."),
        ('{"ImageID": "0a"}', "", "labels.jsonl: Row 2 has no LabelName."),
        ("", '{"LabelName": "/m/0k4j"}', "names.jsonl: Row 2 has no DisplayName."),
        ("", '{"DisplayName": "Car"}', "names.jsonl: Row 2 has no LabelName."),
    ],
)
def test_a_row_of_labels_without_one_of_its_cells_stops_the_run(tmp_path, labels, names, sentence):
    tables = {
        "images": '{"ImageID": "0a", "OriginalURL": "https://e.org/0a.jpg"}',
        "labels": f'{{"ImageID": "0a", "LabelName": "/m/0k4j"}}\n{labels}',
        "names": f'{{"LabelName": "/m/0k4j", "DisplayName": "Car"}}\n{names}',
    }
    for name, content in tables.items():
        (tmp_path / f"{name}.jsonl").write_text(content)
    source = OpenImages(tables=tuple(str(tmp_path / f"{name}.jsonl") for name in tables))
    with pytest.raises(SourceUnreadable) as caught:
        list(source.items())
    assert str(caught.value) == sentence


def test_a_row_of_images_without_its_cells_is_named(tmp_path):
    rows = (
        '{"ImageID": "0a", "OriginalURL": "https://e.org/0a.jpg"}\n{"Title": "A car"}\n'
        '{"ImageID": "0b"}\n'
    )
    (tmp_path / "images.jsonl").write_text(rows)
    source = OpenImages(tables=str(tmp_path / "images.jsonl"))
    assert reasons(source) == {
        "row 2": "Row 2 has no ImageID.",
        "row 3": "Row 3: the address is empty.",
    }
