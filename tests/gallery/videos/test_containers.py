from __future__ import annotations

import io

import pytest

from gallery.videos import containers
from gallery.videos.containers import begins_as, container_of
from tests.gallery.videos import drawing
from tests.images import make_images


@pytest.mark.parametrize(
    ("kind", "codec", "container"),
    [
        ("mp4", "libx264", containers.MP4),
        ("mov", "libx264", containers.MOV),
        ("3gp", "mpeg4", containers.THREE_GP),
        ("webm", "libvpx", containers.WEBM),
        ("matroska", "libx264", containers.MATROSKA),
        ("avi", "mpeg4", containers.AVI),
        ("mpegts", "mpeg4", containers.MPEG_TS),
        ("mpeg", "mpeg2video", containers.MPEG),
        ("flv", "flv", containers.FLV),
        ("asf", "wmv2", containers.WMV),
    ],
)
def test_a_video_is_known_by_its_first_bytes(kind, codec, container):
    rate = 25 if codec == "mpeg2video" else 10
    assert container_of(io.BytesIO(drawing.video(kind, codec=codec, seconds=1, rate=rate))) == (
        container
    )


@pytest.mark.parametrize("kind", make_images.FORMATS)
def test_no_image_is_taken_for_a_video(kind):
    assert begins_as(make_images.sound(kind)) is None


@pytest.mark.parametrize(
    "head", [b"", b"\0", b"#EXTM3U\n", b"ffconcat version 1.0\n", b"RIFF\0\0\0\0WAVE", b"\0" * 600]
)
def test_other_files_are_no_videos(head):
    assert begins_as(head) is None


def test_a_camera_s_transport_stream_with_times_before_its_packets_is_known():
    packets = (b"\0\0\0\0\x47" + bytes(187)) * 4
    assert begins_as(packets[: containers.HEAD_BYTES]) == containers.MPEG_TS
