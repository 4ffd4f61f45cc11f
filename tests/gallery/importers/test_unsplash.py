"""The Unsplash Dataset in its own layout, with photographs that nobody took."""

from __future__ import annotations

import csv

import pytest

from gallery import texts
from gallery.importers import SourceUnreadable
from gallery.importers.tables import Table
from tests.gallery.importers.listing import items, only, reasons

PHOTO = {
    "photo_id": "bygTaBey1Xk",
    "photo_url": "https://unsplash.com/photos/bygTaBey1Xk",
    "photo_image_url": "https://images.unsplash.com/uploads/1413387620228/4c2d7bca",
    "photo_submitted_at": "2014-10-15 15:40:31.258",
    "photo_featured": "t",
    "photo_width": "4635",
    "photo_height": "3070",
    "photo_aspect_ratio": "1.51",
    "photo_description": 'A car, "red", by the sea',
    "photographer_username": "annlee",
    "photographer_first_name": "Ann",
    "photographer_last_name": "Lee",
    "exif_camera_make": "Canon",
    "exif_camera_model": "Canon EOS 5D",
    "exif_iso": "200",
    "exif_aperture_value": "5.6",
    "exif_focal_length": "50.0",
    "exif_exposure_time": "1/60",
    "photo_location_name": "Berlin, Germany",
    "photo_location_latitude": "52.52",
    "photo_location_longitude": "13.405",
    "photo_location_country": "Germany",
    "photo_location_city": "Berlin",
    "stats_views": "1200000",
    "stats_downloads": "3400",
    "ai_description": "red car near body of water",
    "ai_primary_landmark_name": "",
    "ai_primary_landmark_latitude": "",
    "ai_primary_landmark_longitude": "",
    "ai_primary_landmark_confidence": "",
    "blur_hash": "LUE3=6W-",
}
KEYWORD_COLUMNS = (
    "photo_id", "keyword", "ai_service_1_confidence", "ai_service_2_confidence",
    "suggested_by_user",
)  # fmt: skip


@pytest.fixture
def dataset(tmp_path):
    """Return a function that writes photos and keywords as they are published."""

    def write(photos, keywords=(), *, name="photos.tsv000", delimiter="\t", **options):
        with (tmp_path / name).open("w", newline="") as file:
            photo_writer = csv.DictWriter(file, list(PHOTO), delimiter=delimiter)
            photo_writer.writeheader()
            photo_writer.writerows(photos)
        if keywords:
            options["keywords"] = str(tmp_path / "keywords.tsv000")
            with (tmp_path / "keywords.tsv000").open("w", newline="") as file:
                csv.writer(file, delimiter="\t").writerows([KEYWORD_COLUMNS, *keywords])
        return Table(file=str(tmp_path / name), **options)

    return write


@pytest.mark.parametrize(
    ("name", "delimiter"),
    [("photos.tsv000", "\t"), ("photos.csv000", "\t"), ("photos.csv", ","), ("data.csv", ",")],
)
def test_photos_are_read_as_they_are_published(dataset, name, delimiter):
    item = only(dataset([PHOTO], name=name, delimiter=delimiter))

    assert item.key == "bygTaBey1Xk"
    assert item.name == "bygTaBey1Xk.jpg"
    assert item.url == PHOTO["photo_image_url"]
    about = item.about
    assert about.caption == ""
    assert about.captions == (
        ("unsplash", 'A car, "red", by the sea'),
        ("unsplash-ai", "red car near body of water"),
    )
    assert about.attribution == "Ann Lee"
    assert about.licence == "Unsplash License"
    assert about.camera == "Canon EOS 5D"
    assert about.source_url == PHOTO["photo_url"]
    assert (about.latitude, about.longitude) == (52.52, 13.405)
    assert about.metadata == {
        "photo_id": "bygTaBey1Xk",
        "photo_submitted_at": "2014-10-15 15:40:31.258",
        "photo_featured": True,
        "photographer_username": "annlee",
        "exif_iso": 200,
        "exif_aperture_value": 5.6,
        "exif_focal_length": 50.0,
        "exif_exposure_time": "1/60",
        "photo_location_name": "Berlin, Germany",
        "photo_location_country": "Germany",
        "photo_location_city": "Berlin",
        "stats_views": 1200000,
        "stats_downloads": 3400,
        "blur_hash": "LUE3=6W-",
    }


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("https://images.unsplash.com/a", "https://images.unsplash.com/a?w=640&fit=max"),
        ("https://images.unsplash.com/a?x=1", "https://images.unsplash.com/a?x=1&w=640&fit=max"),
        ("https://[broken/a", "https://[broken/a"),
    ],
)
def test_a_width_is_asked_for_in_the_address(dataset, url, asked):
    assert only(dataset([PHOTO | {"photo_image_url": url}], width=640)).url == asked


def test_keywords_become_tags_the_surest_first(dataset):
    keywords = [
        ("bygTaBey1Xk", "sea", "20.5", "", "f"),
        ("otherPhoto1", "dog", "99", "", "f"),
        ("bygTaBey1Xk", "Car", "", "", "t"),
        ("bygTaBey1Xk", "red", "90", "12", "f"),
    ]
    assert only(dataset([PHOTO], keywords)).about.tags == ("car", "red", "sea")


def test_keywords_beyond_what_an_image_holds_are_kept_as_metadata(dataset):
    keywords = [
        ("bygTaBey1Xk", f"word{number:03}", str(100 - number / 10), "", "f") for number in range(60)
    ]
    about = only(dataset([PHOTO], keywords)).about

    assert len(about.tags) == texts.MAX_TAGS
    assert about.metadata["more_tags"] == [f"word{number:03}" for number in range(50, 60)]


def test_a_table_that_is_not_of_keywords_is_refused(dataset):
    photos = dataset([PHOTO])
    with pytest.raises(SourceUnreadable, match="no columns photo_id and keyword"):
        items(photos.model_copy(update={"keywords": photos.file}))


def test_photos_of_a_folder_are_found_by_their_id(dataset, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    (images / "bygTaBey1Xk.jpg").write_bytes(b"bytes")
    table = dataset([PHOTO], images=str(images))
    item = only(table)

    assert (item.key, item.url) == ("bygTaBey1Xk.jpg", "")
    with table.open(item.key) as file:
        assert file.read() == b"bytes"


def test_a_photo_without_an_address_is_named(dataset):
    assert reasons(dataset([PHOTO | {"photo_image_url": ""}])) == {
        "row 1": "Row 1: the address is empty."
    }
