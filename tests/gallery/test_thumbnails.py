from __future__ import annotations

import io

import pytest
from PIL import Image
from PIL.ExifTags import Base

from gallery import colours, thumbnails
from gallery.inspection import open_image
from tests.images import make_images


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


@pytest.mark.parametrize(
    ("size", "edge", "expected"),
    [
        ((2000, 1000), 256, (256, 128)),
        ((1000, 2000), 1024, (512, 1024)),
        ((60, 40), 256, (60, 40)),
        ((5000, 2), 256, (256, 1)),
    ],
)
def test_a_thumbnail_keeps_the_shape_and_is_never_larger(size, edge, expected):
    thumbnail = opened(thumbnails.make(make_images.scene(*size), edge))
    assert thumbnail.format == "WEBP"
    assert thumbnail.size == expected


def test_nothing_but_pixels_is_in_a_thumbnail():
    exif = Image.Exif()
    exif[Base.Make] = "Camera of a person"
    content = make_images.sound(
        "JPEG", exif=exif.tobytes(), comment=b"private", icc_profile=b"broken"
    )
    made = thumbnails.make(open_image(io.BytesIO(content)).pixels, thumbnails.SMALL)
    assert not {"exif", "icc_profile", "xmp"} & opened(made).info.keys()
    for secret in (b"Camera", b"private", b"EXIF", b"ICCP", b"XMP "):
        assert secret not in made


def test_dominant_colours_are_few_clear_and_largest_first():
    found = colours.dominant(make_images.scene(600, 400))
    assert [colour["hex"] for colour in found][2] == "#008000"
    assert {colour["hex"] for colour in found[:2]} == {"#ff0000", "#0000ff"}
    assert [colour["share"] for colour in found] == pytest.approx([0.4, 0.4, 0.2], abs=0.03)


def test_a_gradient_has_at_most_five_colours():
    found = colours.dominant(Image.effect_noise((300, 200), 90).convert("RGB"))
    assert 1 <= len(found) <= 5
    assert sum(colour["share"] for colour in found) <= 1.001
    assert found == sorted(found, key=lambda colour: colour["share"], reverse=True)


def test_one_pixel_has_one_colour():
    assert colours.dominant(Image.new("RGB", (1, 1), "red")) == [{"hex": "#ff0000", "share": 1.0}]
