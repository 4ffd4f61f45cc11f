from __future__ import annotations

import io
import random
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image, ImageCms
from PIL.ExifTags import Base
from PIL.Image import Transpose

from gallery.errors import ImageRefused
from gallery.inspection import MIME_TYPES, Inspected, open_for_encoder, open_image
from tests.images import make_images

# What Pillow says of damaged metadata goes to the log; here it is damaged on purpose.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

# How an upright image lies in a file that says this orientation.
STORED_AS = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_90,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_270,
}


def inspect(content: bytes, *, edge: int | None = None) -> Inspected:
    return open_image(io.BytesIO(content), edge=edge)


def is_near(colour: tuple[int, ...], other: tuple[int, ...]) -> bool:
    return all(abs(a - b) < 45 for a, b in zip(colour, other, strict=True))


@pytest.mark.parametrize("kind", make_images.FORMATS)
def test_every_format_is_told_by_its_bytes(kind):
    inspected = inspect(make_images.sound(kind))
    assert inspected.mime_type == MIME_TYPES[kind]
    assert (inspected.width, inspected.height, inspected.frames) == (60, 40, 1)
    assert inspected.pixels.mode == "RGB"
    assert is_near(inspected.pixels.getpixel((10, 30)), (255, 0, 0))
    assert is_near(inspected.pixels.getpixel((50, 30)), (0, 0, 255))


@pytest.mark.parametrize(
    ("kind", "mode"), [(kind, mode) for kind, modes in make_images.MODES.items() for mode in modes]
)
def test_every_colour_mode_comes_out_as_it_looks(kind, mode):
    pixels = inspect(make_images.in_mode(kind, mode)).pixels
    assert pixels.mode == "RGB"
    left, right = pixels.getpixel((10, 30)), pixels.getpixel((50, 30))
    if mode in {"1", "L", "LA", "I;16", "I", "F"}:
        assert left[0] == left[1] == left[2]
        assert mode == "1" or left[0] > right[0] + 30  # red is lighter than blue, as greys
    else:
        assert is_near(left, (255, 0, 0))
        assert is_near(right, (0, 0, 255))


def test_sixteen_bits_of_grey_keep_their_range():
    ramp = Image.frombytes("I;16", (2, 1), (0).to_bytes(2, "little") + b"\x00\x80")
    pixels = inspect(make_images.encoded(ramp, "PNG")).pixels
    assert [pixels.getpixel((x, 0)) for x in (0, 1)] == [(0, 0, 0), (128, 128, 128)]


def test_floats_are_stretched_and_what_is_no_number_is_black():
    values = Image.new("F", (3, 1))
    for x, value in enumerate((-1000.0, 1000.0, float("nan"))):
        values.putpixel((x, 0), value)
    pixels = inspect(make_images.encoded(values, "TIFF")).pixels
    assert pixels.getpixel((0, 0)) == (0, 0, 0)
    assert pixels.getpixel((1, 0)) == (255, 255, 255)


def test_white_shows_through_what_is_transparent():
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    clear.putpixel((0, 0), (0, 0, 0, 255))
    pixels = inspect(make_images.encoded(clear, "PNG")).pixels
    assert pixels.getpixel((2, 2)) == (255, 255, 255)
    assert pixels.getpixel((0, 0)) == (0, 0, 0)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("edge", [None, 16])
def test_an_image_stands_as_its_exif_says(kind, orientation, edge):
    upright = make_images.scene(120, 80)
    turn = STORED_AS.get(orientation)
    stored = upright if turn is None else upright.transpose(turn)
    exif = Image.Exif()
    exif[Base.Orientation] = orientation
    inspected = inspect(make_images.encoded(stored, kind, exif=exif.tobytes()), edge=edge)
    assert (inspected.width, inspected.height) == (120, 80)
    pixels = inspected.pixels.resize((60, 40))
    assert is_near(pixels.getpixel((10, 30)), (255, 0, 0))
    assert is_near(pixels.getpixel((50, 30)), (0, 0, 255))
    assert is_near(pixels.getpixel((30, 3)), (0, 128, 0))


def test_the_first_frame_of_an_animation_counts():
    for kind in ("GIF", "WEBP", "PNG", "TIFF"):
        inspected = inspect(make_images.animation(kind, 3))
        assert inspected.frames == 3
        assert is_near(inspected.pixels.getpixel((4, 4)), (0, 0, 99))


def test_a_phone_s_jpeg_with_a_second_picture_is_a_jpeg():
    inspected = inspect(
        make_images.encoded(
            make_images.scene(), "MPO", save_all=True, append_images=[make_images.scene()]
        )
    )
    assert (inspected.mime_type, inspected.frames) == ("image/jpeg", 2)


def test_a_colour_profile_is_applied_and_a_broken_one_ignored():
    # sRGB with red and blue exchanged, under another name.
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile = profile.replace(b"rXYZ", b"?XYZ").replace(b"bXYZ", b"rXYZ").replace(b"?XYZ", b"bXYZ")
    profile = profile.replace("sRGB".encode("utf-16-be"), "test".encode("utf-16-be"))

    converted = inspect(make_images.sound(icc_profile=profile)).pixels
    assert is_near(converted.getpixel((10, 30)), (0, 0, 255))
    assert not converted.info
    for broken in (b"no profile at all", profile[:50], profile[:300]):
        kept = inspect(make_images.sound(icc_profile=broken)).pixels
        assert is_near(kept.getpixel((10, 30)), (255, 0, 0))


def test_a_jpeg_that_is_also_a_page_and_an_archive_is_a_jpeg():
    assert inspect(make_images.polyglot()).mime_type == "image/jpeg"


def test_an_empty_file_is_refused():
    with pytest.raises(ImageRefused, match="The file is empty"):
        inspect(b"")


@pytest.mark.parametrize("name", make_images.NOT_TAKEN)
def test_what_is_no_image_of_a_taken_kind_is_refused(name):
    with pytest.raises(ImageRefused, match="not an image of a kind that is taken"):
        inspect(make_images.NOT_TAKEN[name]())


@pytest.mark.parametrize("name", make_images.BOMBS)
def test_a_bomb_is_refused_by_its_header(name):
    content = make_images.BOMBS[name]()
    assert len(content) < 200_000
    started = time.process_time()
    with pytest.raises(ImageRefused, match=r"megapixels|no side may pass"):
        inspect(content)
    assert time.process_time() - started < 1


@pytest.mark.slow
@pytest.mark.parametrize("name", make_images.ENDLESS)
def test_a_file_of_endless_small_pieces_does_not_hold_a_thread(name):
    content = make_images.ENDLESS[name]()
    started = time.process_time()
    with pytest.raises(ImageRefused, match="small pieces"):
        inspect(content)
    assert time.process_time() - started < 2


@pytest.mark.parametrize("name", make_images.DAMAGED)
def test_what_cannot_be_read_is_refused(name):
    with pytest.raises(ImageRefused):
        inspect(make_images.DAMAGED[name]())


@pytest.mark.parametrize("kind", make_images.FORMATS)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("edge", [None, 32])
def test_a_truncated_image_is_refused(kind, share, edge):
    noise = Image.effect_noise((300, 200), 90).convert("RGB")
    whole = make_images.encoded(noise, kind)
    with pytest.raises(ImageRefused):
        inspect(whole[: int(len(whole) * share)], edge=edge)


def test_a_file_over_the_byte_limit_is_refused(settings):
    settings.MAX_IMAGE_BYTES = 1000
    with pytest.raises(ImageRefused, match=r"at most 0\.001 MB"):
        inspect(make_images.sound("BMP"))


def test_an_image_over_the_pixel_limit_is_refused(settings):
    settings.MAX_IMAGE_PIXELS = 60 * 40 - 1
    with pytest.raises(ImageRefused, match="megapixels"):
        inspect(make_images.sound())


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(lambda: make_images.animation("GIF", 11), id="GIF"),
        pytest.param(lambda: make_images.animation("WEBP", 11), id="WebP"),
        pytest.param(lambda: make_images.animation("AVIF", 11), id="AVIF"),
        pytest.param(lambda: make_images.animation("PNG", 11), id="PNG"),
        pytest.param(lambda: make_images.gif_frames(50_000), id="GIF of 50,000"),
        pytest.param(lambda: make_images.tiff_pages(20_000), id="TIFF of 20,000"),
    ],
)
def test_too_many_frames_are_refused_before_they_are_decoded(settings, content):
    settings.MAX_IMAGE_FRAMES = 10
    made = content()
    started = time.process_time()
    with pytest.raises(ImageRefused, match=r"frames|pages"):
        inspect(made)
    assert time.process_time() - started < 2


def test_pages_that_go_in_a_circle_come_to_an_end():
    assert inspect(make_images.tiff_pages(3, is_circular=True)).frames == 3


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "HEIF"])
def test_broken_exif_refuses_nothing(kind):
    junk = b"Exif\x00\x00II*\x00\x08\x00\x00\x00\xff\xff" + bytes(range(256)) * 8
    if kind == "TIFF":
        content = make_images.sound(kind)  # its EXIF is the file's own directory
    elif kind == "JPEG":
        content = make_images.jpeg_with_segments(make_images.segment(0xE1, junk))
    else:
        content = make_images.sound(kind, exif=junk)
    assert inspect(content).width == 60


def test_for_the_encoder_a_large_jpeg_is_decoded_small_and_upright():
    exif = Image.Exif()
    exif[Base.Orientation] = 6
    content = make_images.sound(width=4000, height=3000, exif=exif)
    pixels = open_for_encoder(io.BytesIO(content), 224)
    assert pixels.mode == "RGB"
    assert pixels.height > pixels.width  # turned
    assert 224 <= min(pixels.size) < 2 * 224


def test_a_small_image_is_not_enlarged_for_the_encoder():
    assert open_for_encoder(io.BytesIO(make_images.sound()), 224).size == (60, 40)


def test_a_failing_disk_is_not_blamed_on_the_image():
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() > 100:
                raise OSError(5, "Input/output error")
            return super().read(size)

    with pytest.raises(OSError, match="Input/output error"):
        open_image(Failing(make_images.sound()))


def test_threads_do_not_disturb_each_other():
    contents = [make_images.sound(kind) for kind in make_images.FORMATS] * 4
    contents += [make_images.BOMBS["60-megapixels.png"]()] * 4
    with ThreadPoolExecutor(4) as pool:
        outcomes = [pool.submit(inspect, content) for content in contents]
    assert sum(isinstance(outcome.exception(), ImageRefused) for outcome in outcomes) == 4
    assert sum(outcome.exception() is None for outcome in outcomes) == len(contents) - 4


@pytest.mark.parametrize("kind", make_images.FORMATS)
@pytest.mark.slow
def test_random_damage_gives_an_image_or_a_refusal(kind):
    whole = make_images.sound(kind)
    chance = random.Random(kind)
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(chance.randint(1, 12)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        try:
            inspect(bytes(damaged))
        except ImageRefused:
            pass
