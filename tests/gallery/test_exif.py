from __future__ import annotations

import io
from datetime import UTC, datetime

import pytest
from PIL import Image
from PIL.ExifTags import GPS, IFD, Base

from gallery import exif
from tests.images import make_images

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")


def read(*, photo=None, gps=None):
    written = Image.Exif()
    for directory, tags in ((IFD.Exif, photo), (IFD.GPSInfo, gps)):
        if tags:
            written[directory] = tags
    with Image.open(io.BytesIO(make_images.sound(exif=written.tobytes()))) as image:
        return exif.read(image)


def test_an_image_without_exif_has_none():
    assert read() == exif.Exif()


def test_a_time_without_zone_is_in_the_zone_of_the_site(settings):
    settings.TIME_ZONE = "Europe/Paris"
    taken_at = read(photo={Base.DateTimeOriginal: "2021:07:01 12:30:00"}).taken_at
    assert taken_at == datetime(2021, 7, 1, 10, 30, tzinfo=UTC)


def test_a_time_with_an_offset_is_taken_at_its_word():
    photo = {Base.DateTimeOriginal: "2021:07:01 12:30:00", Base.OffsetTimeOriginal: "-05:00"}
    assert read(photo=photo).taken_at == datetime(2021, 7, 1, 17, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    "written",
    [
        "",
        "0000:00:00 00:00:00",
        "2021:13:01 00:00:00",
        "0001:01:01 00:00:00",
        "    :  :     :  :  ",
    ],
)
def test_a_time_that_cannot_be_is_none(written):
    assert read(photo={Base.DateTimeOriginal: written}).taken_at is None


@pytest.mark.parametrize(
    ("make", "model", "camera"),
    [
        ("Canon", "Canon EOS 5D", "Canon EOS 5D"),
        ("NIKON CORPORATION", "NIKON D90", "NIKON D90"),
        ("Apple", "iPhone 12", "Apple iPhone 12"),
        ("FUJIFILM\x00\x00", "X100V   ", "FUJIFILM X100V"),
        ("Evil\x1b[2J", "\u202etxt.exe", "Evil[2J txt.exe"),
        ("", "", ""),
        ("x" * 500, "y", "x" * 200),
    ],
)
def test_a_camera_is_named_once_and_cleanly(make, model, camera):
    image = Image.new("RGB", (1, 1))
    image.getexif().update({int(Base.Make): make, int(Base.Model): model.encode()})
    assert exif.read(image).camera == camera


def test_a_position_is_read_in_degrees():
    gps = {
        GPS.GPSLatitudeRef: "S", GPS.GPSLatitude: (33.0, 51.0, 24.0),
        GPS.GPSLongitudeRef: "E", GPS.GPSLongitude: (151.0, 12.0, 36.0),
    }  # fmt: skip
    found = read(gps=gps)
    assert found.latitude == pytest.approx(-33.856667, abs=1e-5)
    assert found.longitude == pytest.approx(151.21, abs=1e-5)


@pytest.mark.parametrize(
    ("latitude", "longitude"),
    [
        ((91.0, 0.0, 0.0), (0.0, 0.0, 1.0)),
        ((1.0, 0.0, 0.0), (181.0, 0.0, 0.0)),
        ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)),
        ((1.0, 2.0), (3.0, 4.0)),
        ("north", "east"),
        ((1.0, 2.0, 3.0), None),
        ((float("nan"), 0.0, 0.0), (1.0, 0.0, 0.0)),
        ((float("inf"), 0.0, 0.0), (1.0, 0.0, 0.0)),
    ],
)
def test_a_position_that_cannot_be_is_none(latitude, longitude):
    image = Image.new("RGB", (1, 1))
    gps = image.getexif().get_ifd(IFD.GPSInfo)
    gps.update({GPS.GPSLatitude: latitude, GPS.GPSLongitude: longitude})
    found = exif.read(image)
    assert (found.latitude, found.longitude) == (None, None)


@pytest.mark.parametrize("length", range(0, 120, 7))
def test_exif_that_breaks_off_raises_nothing(length):
    written = Image.Exif()
    written[Base.Model] = "Camera"
    written[IFD.Exif] = {Base.DateTimeOriginal: "2021:07:01 12:30:00"}
    whole = b"Exif\x00\x00" + written.tobytes().removeprefix(b"Exif\x00\x00")
    content = make_images.jpeg_with_segments(make_images.segment(0xE1, whole[:length]))
    with Image.open(io.BytesIO(content)) as image:
        exif.read(image)
