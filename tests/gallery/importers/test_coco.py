"""Annotations in COCO's layout, of scenes that nobody photographed."""

from __future__ import annotations

import json

import pytest

from gallery import texts
from gallery.importers import ItemUnreadable, SourceUnreadable
from gallery.importers.coco import Coco
from gallery.tables.joins import Gathered
from tests.gallery.importers.listing import items, keys, only, reasons

INFO = {"description": "Drawn", "url": "http://example.org", "version": "1.0", "year": 2017}
LICENCES = [
    {
        "url": "http://creativecommons.org/licenses/by-nc-sa/2.0/",
        "id": 1,
        "name": "Attribution-NonCommercial-ShareAlike License",
    },
    {"url": "http://flickr.com/commons/usage/", "id": 7, "name": "No known restrictions"},
]
IMAGES = [
    {
        "license": 1,
        "file_name": "000000397133.jpg",
        "coco_url": "http://images.cocodataset.org/val2017/000000397133.jpg",
        "height": 427,
        "width": 640,
        "date_captured": "2013-11-14 17:02:52",
        "flickr_url": "http://farm7.staticflickr.com/6116/6255196340_z.jpg",
        "id": 397133,
    },
    {
        "license": 7,
        "file_name": "000000037777.jpg",
        "coco_url": "http://images.cocodataset.org/val2017/000000037777.jpg",
        "height": 230,
        "width": 352,
        "date_captured": "2013-11-14 20:55:31",
        "flickr_url": "http://farm9.staticflickr.com/8429/7839199426_z.jpg",
        "id": 37777,
    },
]
CAPTIONS = [
    {"image_id": 397133, "id": number, "caption": f"A man bakes bread, said person {number}.\n"}
    for number in range(5)
] + [{"image_id": 37777, "id": 9, "caption": "A kitchen."}]
INSTANCES = [
    {
        "segmentation": [[510.66, 423.01, 511.72, 420.03]],
        "area": 702.1,
        "iscrowd": 0,
        "image_id": 397133,
        "bbox": [473.07, 395.93, 38.65, 28.67],
        "category_id": category,
        "id": number,
    }
    for number, category in enumerate((44, 1, 1))
]
CATEGORIES = [
    {"supercategory": "person", "id": 1, "name": "person"},
    {"supercategory": "kitchen", "id": 44, "name": "bottle"},
]


@pytest.fixture
def annotated(tmp_path):
    """Return a function that writes annotation files and returns them as a source."""

    def write(*contents, **options):
        paths = []
        for number, content in enumerate(contents):
            path = tmp_path / f"annotations{number}.json"
            path.write_bytes(
                content if isinstance(content, bytes) else json.dumps(content).encode()
            )
            paths.append(str(path))
        return Coco(annotations=tuple(paths), **options)

    return write


def captions(images=IMAGES, annotations=CAPTIONS):
    return {"info": INFO, "licenses": LICENCES, "images": images, "annotations": annotations}


def instances():
    # As published: the categories come last.
    return captions(annotations=INSTANCES) | {"categories": CATEGORIES}


def test_all_captions_of_an_image_are_kept_with_their_source(annotated):
    first, second = items(annotated(captions()))

    assert first.about.caption == ""
    assert first.about.captions == tuple(
        ("coco", f"A man bakes bread, said person {number}.") for number in range(5)
    )
    assert second.about.captions == (("coco", "A kitchen."),)


def test_categories_become_tags_each_once(annotated):
    first, second = items(annotated(instances()))

    assert first.about.tags == ("bottle", "person")
    assert second.about.tags == ()


def test_captions_and_instances_of_the_same_images_are_joined(annotated):
    both = annotated(captions(), instances())

    assert len(items(both)) == 2
    first, _ = items(both)
    assert len(first.about.captions) == 5
    assert first.about.tags == ("bottle", "person")


def test_images_are_downloaded_from_coco_or_flickr(annotated):
    assert keys(annotated(captions())) == [image["coco_url"] for image in IMAGES]
    assert keys(annotated(captions(), address="flickr")) == [
        image["flickr_url"] for image in IMAGES
    ]


def test_licences_have_their_names_and_the_source_is_the_original(annotated):
    first, second = (item.about for item in items(annotated(captions())))

    assert first.licence == "CC BY-NC-SA 2.0"
    assert second.licence == "No known restrictions"
    assert first.source_url == IMAGES[0]["flickr_url"]
    assert first.taken_at is None
    assert first.metadata == {
        "coco_id": 397133,
        "date_captured": "2013-11-14 17:02:52",
        "licence_url": "http://creativecommons.org/licenses/by-nc-sa/2.0/",
    }


def test_images_of_a_folder_are_opened_there_and_nowhere_else(annotated, tmp_path):
    folder = tmp_path / "val2017"
    folder.mkdir()
    (folder / "000000397133.jpg").write_bytes(b"bytes")
    outside = IMAGES[1] | {"file_name": "../annotations0.json"}
    source = annotated(captions([IMAGES[0], outside]), images=str(folder))
    first, second = items(source)

    assert (first.key, first.url) == ("000000397133.jpg", "")
    with source.open(first.key) as file:
        assert file.read() == b"bytes"
    with pytest.raises(ItemUnreadable, match="There is no file"):
        source.open(second.key)


def test_more_captions_than_an_image_holds_are_kept_as_metadata(annotated):
    many = [{"image_id": 37777, "id": number, "caption": f"c{number}"} for number in range(25)]
    about = only(annotated(captions(IMAGES[1:], many))).about

    assert len(about.captions) == 20
    assert about.metadata["more_captions"] == [f"c{number}" for number in range(20, 25)]
    assert texts.metadata(about.metadata)


def test_images_that_are_none_are_named(annotated, tmp_path):
    images = [7, {"id": 1}, {"id": 2, "file_name": "a\0.jpg"}, {"id": 3, "coco_url": "ftp://x"}]
    found = reasons(annotated(captions(images)))

    assert list(found) == [f"image {number}" for number in (1, 2, 3, 4)]
    assert found["image 1"] == "Image 1 is no object."
    assert found["image 2"] == "Image 2: the address is empty."
    nameless = annotated(captions([{"id": 1}]), images=str(tmp_path))
    assert reasons(nameless) == {"image 1": "Image 1 has no file_name."}


@pytest.mark.parametrize(
    "annotation",
    [None, [], "x", {}, {"image_id": 397133}, {"image_id": [1], "caption": "x"},
     {"image_id": 397133, "caption": {"a": 1}}, {"image_id": 397133, "category_id": 99}],
)  # fmt: skip
def test_annotations_that_say_nothing_harm_no_image(annotated, annotation):
    listed = items(annotated(captions(annotations=[annotation, *CAPTIONS])))
    assert [len(item.about.captions) for item in listed] == [5, 1]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b'{"images": {}}', b"\xff\xfe", b"<html>", b'{"images": [{"id": 1'],
)
def test_what_is_not_in_cocos_layout_is_refused_with_a_sentence(annotated, content):
    with pytest.raises(SourceUnreadable, match=r"not JSON as COCO has it|list no images"):
        list(annotated(content).items())


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"a":["]",'])
@pytest.mark.parametrize("levels", [60, 500_000])
def test_deep_nesting_is_refused_at_once(annotated, opening, levels):
    with pytest.raises(SourceUnreadable, match="nested more than 50 levels"):
        list(annotated(b'{"images": [{"id": ' + opening * levels).items())


def test_brackets_in_texts_are_no_nesting(annotated):
    caption = {"image_id": 37777, "caption": '[[{"\\"' * 50_000}
    assert len(items(annotated(captions(annotations=[caption, *CAPTIONS])))) == 2


def test_a_text_without_an_end_is_refused_before_it_fills_the_memory(annotated):
    with pytest.raises(SourceUnreadable, match="a text of more than"):
        list(annotated(b'{"images": [{"file_name": "' + b"x" * 5_000_000).items())


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b'{"images": [{' + b'"a": 1, ' * 1_000_000, "An entry of the JSON has more than"),
        (b'{"images": [[' + b"[1], " * 1_500_000, "An entry of the JSON has more than"),
        (b'{"info": ' + b"1" * 5_000_000, "or such a number"),
    ],
)
def test_what_has_no_end_is_refused_before_it_fills_the_memory(annotated, content, sentence):
    with pytest.raises(SourceUnreadable, match=sentence):
        list(annotated(content).items())


def test_of_very_many_captions_of_an_image_the_first_are_taken():
    with Gathered() as said:
        said.add(("1", f"{number} {'x' * 900}") for number in range(20_000))
        found = list(said.of("1"))
    assert found == [f"{number} {'x' * 900}" for number in range(len(found))]
    assert 1000 <= len(found) <= 5000


def test_one_file_may_be_given_as_it_is():
    assert Coco(annotations="/data/captions.json").annotations == ("/data/captions.json",)
