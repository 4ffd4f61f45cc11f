from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage

from gallery import digests, inspection, thumbnails
from tests.gallery.duplicates import pictures
from tests.gallery.duplicates.pictures import encoded, scene
from tests.images import make_images


def pixel_sha256(content: bytes) -> str:
    inspected = inspection.open_image(io.BytesIO(content), edge=thumbnails.LARGE)
    return digests.pixel_sha256(inspected, thumbnails.resized(inspected.pixels, thumbnails.LARGE))


def bits_from(image: PillowImage.Image, other: PillowImage.Image) -> int:
    one, two = digests.perceptual_hash(image), digests.perceptual_hash(other)
    assert one is not None
    assert two is not None
    return digests.bits_between(one, two)


def as_file(image: PillowImage.Image, **options: Any) -> PillowImage.Image:
    return PillowImage.open(io.BytesIO(encoded(image, **options))).convert("RGB")


LOSSLESS = [
    {"kind": "PNG"},
    {"kind": "PNG", "compress_level": 1},
    {"kind": "WEBP", "lossless": True, "exact": True},
    {"kind": "TIFF"},
    {"kind": "TIFF", "compression": "tiff_lzw"},
    {"kind": "BMP"},
]


@pytest.mark.parametrize("size", [(640, 480), (2600, 2200)])
def test_lossless_copies_have_the_same_pixels_in_every_format(size):
    image = scene().resize(size)
    assert len({pixel_sha256(encoded(image, **options)) for options in LOSSLESS}) == 1


@pytest.mark.parametrize("size", [(640, 480), (4200, 3100)])
def test_a_jpeg_has_the_same_pixels_with_other_exif(size):
    image = scene().resize(size)
    exif = PillowImage.Exif()
    exif[0x010F] = "A camera"
    one, other = encoded(image, quality=80), encoded(image, quality=80, exif=exif)
    assert one != other
    assert pixel_sha256(one) == pixel_sha256(other)


def test_a_turn_in_exif_counts_as_turned_pixels():
    image = scene()
    exif = PillowImage.Exif()
    exif[0x0112] = 3
    turned = encoded(image.rotate(180), "PNG", exif=exif)
    assert pixel_sha256(turned) == pixel_sha256(encoded(image, "PNG"))


def test_one_changed_pixel_makes_other_pixels():
    image = scene().copy()
    before = pixel_sha256(encoded(image, "PNG"))
    red, green, blue = image.getpixel((5, 5))
    image.putpixel((5, 5), (red ^ 1, green, blue))
    assert pixel_sha256(encoded(image, "PNG")) != before


def test_the_same_bytes_in_another_shape_are_other_pixels():
    flat = PillowImage.new("RGB", (40, 10), "red")
    tall = PillowImage.new("RGB", (10, 40), "red")
    assert pixel_sha256(encoded(flat, "PNG")) != pixel_sha256(encoded(tall, "PNG"))


def test_of_an_animation_the_first_frame_does_not_say_what_it_shows():
    assert pixel_sha256(make_images.animation("GIF", 3)) == ""


@pytest.mark.parametrize(
    ("change", "most"),
    [
        (lambda image: as_file(image, quality=90), 4),
        (lambda image: as_file(image, quality=30), 6),
        (pictures.half, 8),
        (lambda image: as_file(pictures.half(image), quality=40), 8),
        (lambda image: image.convert("L").convert("RGB"), 4),
        (pictures.cropped, 8),
        (pictures.marked, 10),
    ],
    ids=["quality 90", "quality 30", "half", "half and quality 40", "grey", "cropped", "marked"],
)
def test_a_copy_keeps_nearly_all_bits_of_the_hash(change, most):
    for seed in range(12):
        assert bits_from(scene(seed), change(scene(seed))) <= most


def test_a_mirrored_image_and_another_scene_have_another_hash():
    for seed in range(12):
        assert bits_from(scene(seed), pictures.mirrored(scene(seed))) > 16
        assert bits_from(scene(seed), scene(seed + 100)) > 16


@pytest.mark.parametrize("colour", ["white", "black", "#808080"])
def test_what_shows_nothing_has_no_hash(colour):
    assert digests.perceptual_hash(PillowImage.new("RGB", (300, 200), colour)) is None


def test_a_hash_fits_a_bigint_whatever_the_image():
    random = np.random.default_rng(0)
    for size in [(1, 1), (1, 900), (900, 1), (31, 33), (257, 255)]:
        pixels = random.integers(0, 255, (*size, 3), dtype=np.uint8)
        found = digests.perceptual_hash(PillowImage.fromarray(pixels))
        assert found is None or -(2**63) <= found < 2**63


def test_bits_are_counted_between_signed_numbers():
    assert digests.bits_between(-1, 0) == 64
    assert digests.bits_between(-1, -2) == 1
    assert digests.bits_between(-(2**63), 2**63 - 1) == 64
