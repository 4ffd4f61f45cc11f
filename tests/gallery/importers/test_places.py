from __future__ import annotations

import pytest

from gallery.importers.coco import Coco
from gallery.importers.openimages import OpenImages
from gallery.importers.tables import Table
from gallery.importers.urls import Urls

ADDRESS = "https://example.org/list.csv"


@pytest.mark.parametrize(
    ("source", "field", "is_many"),
    [
        (Table, "file", False),
        (Urls, "file", False),
        (Coco, "annotations", True),
        (OpenImages, "tables", True),
    ],
)
def test_a_list_is_found_from_anywhere(source, field, is_many, tmp_path, monkeypatch):
    """A run may be gone on with by a process that stands elsewhere."""
    monkeypatch.chdir(tmp_path)
    for said, kept in (
        ("lists/../list.csv", str(tmp_path / "list.csv")),
        ("/data/list.csv", "/data/list.csv"),
        (ADDRESS, ADDRESS),
    ):
        found = getattr(source(**{field: said}), field)
        assert found == ((kept,) if is_many else kept)


@pytest.mark.parametrize(("source", "field"), [(Coco, "annotations"), (OpenImages, "tables")])
def test_a_folder_of_images_is_found_from_anywhere(source, field, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert source(**{field: ADDRESS, "images": "train"}).images == str(tmp_path / "train")
    assert source(**{field: ADDRESS}).images == ""
