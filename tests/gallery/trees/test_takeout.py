from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gallery.importers import Item, Skipped
from gallery.importers.folder import Folder
from gallery.trees import takeout
from gallery.trees.sidecars import parse

SAID = {
    "title": "IMG_1.jpg",
    "description": "On the beach",
    "imageViews": "3",
    "creationTime": {"timestamp": "1258549448", "formatted": "18 Nov 2009, 13:04:08 UTC"},
    "photoTakenTime": {"timestamp": "1258375918", "formatted": "16 Nov 2009, 12:51:58 UTC"},
    "geoData": {"latitude": 30.65, "longitude": 104.07, "altitude": 0.0},
    "geoDataExif": {"latitude": 1.0, "longitude": 2.0, "altitude": 486.2},
    "people": [{"name": "Ann"}, {"name": "Ben"}, {}],
    "url": "https://photos.google.com/photo/AF1Qip",
    "favorited": True,
}
LONG = "x" * 44 + ".jpg"


def said(**changes) -> bytes:
    return json.dumps(SAID | changes).encode()


@pytest.mark.parametrize(
    ("image", "sidecar"),
    [
        ("IMG_1.jpg", "IMG_1.jpg.json"),
        ("IMG_1.jpg", "IMG_1.jpg.supplemental-metadata.json"),
        ("IMG_1(1).jpg", "IMG_1.jpg(1).json"),
        ("IMG_1(1).jpg", "IMG_1.jpg.supplemental-metadata(1).json"),
        ("IMG_2710(12).HEIC", "IMG_2710.HEIC.supplemental-metadata(12).json"),
        # Cut after 46 units.
        ("PXL_20230809_203449253.LONG_EXPOSURE-02.ORIGINA.jpg",
         "PXL_20230809_203449253.LONG_EXPOSURE-02.ORIGIN.json"),
        ("05yqt21kruxwwlhhgrwrdyb6chhwszi9bqmzu16w0 2.jpg",
         "05yqt21kruxwwlhhgrwrdyb6chhwszi9bqmzu16w0 2.jp.json"),
        ("20200920_131207_with_a_name.jpg", "20200920_131207_with_a_name.jpg.supplemental-m.json"),
        ("x" * 40 + ".jpg", "x" * 40 + ".jpg.s.json"),
        ("x" * 41 + ".jpg", "x" * 41 + ".jpg..json"),
        ("😀😃😄😁😆😅😂🤣🥲☺️😊😇🙂🙃😉😌😍🥰😘😗😙😚😋😛.jpg",
         "😀😃😄😁😆😅😂🤣🥲☺️😊😇🙂🙃😉😌😍🥰😘😗😙😚😋.json"),
        ("Backyard_ceremony_wedding_photography_xxxxxxx_m(494).jpg",
         "Backyard_ceremony_wedding_photography_xxxxxxx_(494).json"),
        ("13039_327707840323_537645323_9470255_27214_n(1).jpg",
         "13039_327707840323_537645323_9470255_27214_n.j(1).json"),
        ("original_1d4caa6f-16c6-4c3d-901b-9387de10e528_P(1).jpg",
         "original_1d4caa6f-16c6-4c3d-901b-9387de10e528_.json"),
        # Edited copies share their original's.
        ("IMG_1-edited.jpg", "IMG_1.jpg.json"),
        ("IMG_1-edited(1).jpg", "IMG_1.jpg.supplemental-metadata(1).json"),
        ("PXL_20220405_090123740.PORTRAIT-modifié.jpg", "PXL_20220405_090123740.PORTRAIT.jpg.json"),
        ("IMG_1-bearbeitet.jpg", "IMG_1.jpg.supplemental-metadata.json"),
        ("y" * 42 + "-edit.jpg", "y" * 42 + ".jpg.json"),  # the mark itself was cut
    ],
)  # fmt: skip
def test_a_sidecar_is_found_by_the_name_of_its_image(image, sidecar):
    assert sidecar in list(takeout.sidecar_names(image))


@pytest.mark.parametrize(
    ("image", "sidecar"),
    [
        ("DSC_0104(1).JPG", "DSC_0104.JPG.json"),
        ("DSC_0103.JPG", "DSC_0103.JPG(1).json"),
        ("DSC_0102(1).JPG", "DSC_0102.JPG(2).json"),
        ("IMG_1.jpg", "IMG_2.jpg.json"),
        ("PXL_20220405_090123741.PORTRAIT-modifié.jpg", "PXL_20220405_090123740.PORTRAIT.jpg.json"),
    ],
)
def test_a_sidecar_of_another_image_is_not_taken(image, sidecar):
    assert sidecar not in list(takeout.sidecar_names(image))


@given(st.text(max_size=80))
def test_names_are_made_of_any_name(image):
    found = list(takeout.sidecar_names(image + ".jpg"))
    assert all(name.endswith(".json") for name in found)
    assert len(found) <= 10


def test_all_that_google_says_of_an_image_is_kept():
    about = parse("IMG_1.jpg.json", said()).about
    assert about.caption == "On the beach"
    assert about.tags == ("ann", "ben")
    assert about.source_url == "https://photos.google.com/photo/AF1Qip"
    assert about.taken_at == datetime(2009, 11, 16, 12, 51, 58, tzinfo=UTC)
    assert (about.latitude, about.longitude) == (30.65, 104.07)
    assert about.metadata == {"favorited": True}


@pytest.mark.parametrize(
    ("seconds", "year"), [("-3000000000", 1874), ("0", None), ("-99999999999", None), (86400, 1970)]
)
def test_the_time_may_be_before_1970_and_never_before_photography(seconds, year):
    taken_at = parse("a.json", said(photoTakenTime={"timestamp": seconds})).about.taken_at
    assert (taken_at and taken_at.year) == year


def test_nowhere_is_no_place():
    nowhere = {"latitude": 0.0, "longitude": 0.0}
    about = parse("a.json", said(geoData=nowhere)).about
    assert (about.latitude, about.longitude) == (1.0, 2.0)  # as EXIF has it
    about = parse("a.json", said(geoData=nowhere, geoDataExif=nowhere)).about
    assert (about.latitude, about.longitude) == (None, None)


def put(folder: Path, name: str, content: bytes = b"pixels") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


def test_an_export_is_listed_with_albums_whole_names_and_without_its_trash(tmp_path):
    photos = tmp_path / "Takeout" / "Google Photos"
    put(photos / "Photos from 2009", "IMG_1.jpg")
    put(photos / "Photos from 2009", "IMG_1.jpg.supplemental-metadata.json", said())
    put(photos / "Photos from 2009", "IMG_1-edited.jpg")
    put(photos / "Trip 2009", "metadata.json", b'{"title": "Our trip", "date": {}}')
    put(photos / "Trip 2009", LONG)
    put(photos / "Trip 2009", f"{LONG[:46]}.json", said(title="x" * 60 + ".jpg"))
    put(photos / "Trash", "gone.jpg")
    put(photos / "Trash", "gone.jpg.json", said(trashed=True))
    entries = list(Folder(path=str(tmp_path)).items())
    items = {entry.key.rpartition("/")[2]: entry for entry in entries if isinstance(entry, Item)}
    # The album comes first: of two files with the same bytes the first one counts.
    assert list(items) == [LONG, "IMG_1-edited.jpg", "IMG_1.jpg"]
    assert items[LONG].about.album == "Our trip"
    assert items[LONG].name == "x" * 60 + ".jpg"
    assert items["IMG_1.jpg"].about.album == ""
    assert items["IMG_1-edited.jpg"].about.caption == "On the beach"
    assert items["IMG_1-edited.jpg"].name == "IMG_1-edited.jpg"
    (skipped,) = [entry for entry in entries if isinstance(entry, Skipped)]
    assert skipped.key.endswith("gone.jpg")
    assert "trash" in skipped.reason
