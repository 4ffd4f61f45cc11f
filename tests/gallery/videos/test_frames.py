"""Frames are taken in decode processes: what comes back is right, and what is wrong is refused."""

from __future__ import annotations

import io
import struct
import threading
import time

import pytest
from PIL import Image

from gallery.decoding import decoders
from gallery.decoding import videos as decoding
from gallery.decoding.videos import Plan
from gallery.errors import ImageRefused
from tests.gallery.videos import drawing


def frames_of(content: bytes, *, mode: str = "every", step: float = 1.0, mark: str = "x"):
    with decoding.opened(io.BytesIO(content)) as opened:
        return list(opened.frames(Plan(mode=mode, step_seconds=step, mark=mark)))


def probed(content: bytes):
    with decoding.opened(io.BytesIO(content)) as opened:
        return opened.probe()


def seconds_of(content: bytes, **given) -> list[float]:
    return [frame.seconds for frame in frames_of(content, **given)]


def pixels(frame) -> Image.Image:
    return Image.open(io.BytesIO(frame.jpeg)).convert("RGB")


@pytest.mark.parametrize(
    ("kind", "codec"),
    [
        ("mp4", "libx264"),
        ("mov", "libx264"),
        ("webm", "libvpx"),
        ("matroska", "libx264"),
        ("avi", "mpeg4"),
        ("mpegts", "mpeg4"),
        ("flv", "flv"),
        ("asf", "wmv2"),
    ],
)
def test_a_frame_of_each_second_comes_from_every_kind_of_video(kind, codec):
    found = seconds_of(drawing.video(kind, codec=codec, seconds=6, gop=5))
    assert len(found) >= 6
    for n in range(6):
        # A key frame within half a step of its time will do.
        assert min(abs(seconds - n) for seconds in found) <= 0.55
    assert found == sorted(set(found))


def test_a_frame_shows_what_the_video_shows_at_its_time():
    for frame in frames_of(drawing.mp4(seconds=6, gop=5), step=2.0):
        colour = pixels(frame).getpixel((5, 110))
        wanted = drawing.scenes(frame.seconds).getpixel((5, 110))
        assert max(abs(a - b) for a, b in zip(colour, wanted, strict=True)) < 20, frame.seconds


def test_frames_are_the_same_whether_the_video_is_gone_through_or_jumped_in():
    # Key frames lie closer than a step in the one, further apart than the whole in the other.
    near, far = (drawing.mp4(seconds=8, gop=gop) for gop in (2, 10_000))
    assert seconds_of(near, step=2.0) == seconds_of(far, step=2.0) == [0.0, 2.0, 4.0, 6.0]


def test_a_key_frame_before_its_time_is_taken_in_place_of_decoding_on():
    # Key frames at 0, 2.4, 4.8, 7.2; the last one lies more than half a step of 3 before its time.
    content = drawing.mp4(seconds=9.5, gop=24, picture=drawing.quarters)
    assert seconds_of(content, step=3.0) == [0.0, 2.4, 4.8, 9.0]


def test_many_frames_come_in_several_calls(monkeypatch):
    whole = seconds_of(drawing.mp4(seconds=9), step=0.5)
    monkeypatch.setattr(decoding, "_FRAMES_AT_ONCE", 1)
    assert seconds_of(drawing.mp4(seconds=9), step=0.5) == whole
    assert len(whole) >= 18


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_a_turned_video_gives_upright_frames(turn):
    def turned(container, stream):
        stream.set_display_rotation(turn)

    content = drawing.mp4(seconds=1, picture=drawing.quarters, change=turned)
    (frame, *_) = frames_of(content)
    wanted = drawing.quarters(0).rotate(turn, expand=True)
    found = pixels(frame)
    assert found.size == wanted.size == (frame.studied.width, frame.studied.height)
    assert (probed(content).width, probed(content).height) == wanted.size
    for x, y in ((0.4, 0.6), (0.6, 0.4), (0.1, 0.4), (0.9, 0.6), (0.4, 0.9)):
        at = (int(x * found.width), int(y * found.height))
        difference = zip(found.getpixel(at), wanted.getpixel(at), strict=True)
        assert max(abs(a - b) for a, b in difference) < 40, at


def test_pixels_that_are_not_square_are_made_so():
    def wide(container, stream):
        stream.sample_aspect_ratio = 2

    (frame, *_) = frames_of(drawing.mp4(seconds=1, change=wide))
    assert pixels(frame).size == (320, 120)


def test_a_large_frame_is_kept_smaller():
    (frame, *_) = frames_of(drawing.mp4(seconds=0.3, size=(2560, 1440)))
    assert pixels(frame).size == (1920, 1080)
    assert set(frame.studied.thumbnails) == {256, 1024}


def test_what_does_not_move_gives_one_frame():
    content = drawing.mp4(seconds=30, picture=drawing.still)
    assert seconds_of(content) == [0.0]
    assert seconds_of(content, mode="scenes") == [0.0]


def test_scenes_give_a_frame_each():
    found = seconds_of(drawing.mp4(seconds=12, gop=10_000), mode="scenes")
    assert found == [0.0, 3.0, 6.0, 9.0]


def test_scenes_that_change_faster_than_a_step_do_not_flood():
    def flicker(seconds: float):
        return Image.new("RGB", drawing.SIZE, "white" if int(seconds * 10) % 2 else "black")

    found = seconds_of(drawing.mp4(seconds=6, picture=flicker), mode="scenes", step=2.1)
    assert 2 <= len(found) <= 4


def test_scenes_found_in_one_call_or_many_are_the_same(monkeypatch):
    content = drawing.mp4(seconds=15)
    whole = seconds_of(content, mode="scenes")
    monkeypatch.setattr(decoding, "_FRAMES_AT_ONCE", 1)
    assert seconds_of(content, mode="scenes") == whole == [0.0, 3.0, 6.0, 9.0, 12.0]


def test_times_that_are_uneven_are_kept():
    times = [0, 0.2, 1.9, 2.0, 2.1, 7.5, 7.6]
    found = seconds_of(drawing.mp4(times=times, gop=1))
    assert set(found) <= set(times)
    assert {0, 1.9, 7.5} <= set(found)


def test_a_video_that_begins_late_or_before_nought_begins_at_nought():
    late = drawing.video("matroska", codec="libx264", times=[30, 30.5, 31, 31.5, 32])
    assert seconds_of(late)[0] == 0.0
    early = drawing.mp4(times=[-2.0, -1.0, 0.0, 1.0], options={"avoid_negative_ts": "disabled"})
    found = seconds_of(early)
    assert found[0] == 0.0
    assert found == sorted(found)


def test_a_video_without_a_length_is_measured():
    # As a browser records it: nobody went back to write how long it is.
    content = drawing.video("webm", seconds=6, options={"live": "1"})
    assert 5 <= probed(content).seconds <= 6.5
    assert len(seconds_of(content)) >= 6


def test_two_videos_never_give_the_same_file():
    content = drawing.mp4(seconds=1)
    assert frames_of(content, mark="a")[0].jpeg != frames_of(content, mark="b")[0].jpeg


def test_what_the_camera_wrote_is_read():
    def told(container, stream):
        container.metadata["creation_time"] = "2024-05-31T12:00:00.000000Z"
        container.metadata["location"] = "+52.5200+013.4050/"

    found = probed(drawing.mp4(seconds=1, change=told))
    assert found.taken_at is not None
    assert found.taken_at.isoformat() == "2024-05-31T12:00:00+00:00"
    assert (found.latitude, found.longitude) == (52.52, 13.405)


def test_a_camera_without_a_clock_says_no_time():
    def told(container, stream):
        container.metadata["creation_time"] = "1904-01-01T00:00:00.000000Z"

    assert probed(drawing.mp4(seconds=1, change=told)).taken_at is None


# What is wrong


def whole(content: bytes):
    with decoding.opened(io.BytesIO(content)) as opened:
        opened.probe()
        return list(opened.frames(Plan(mode="every", step_seconds=1.0, mark="x")))


def refusal(content: bytes) -> str:
    with pytest.raises(ImageRefused) as refused:
        whole(content)
    return str(refused.value)


def test_a_file_without_pictures_is_refused():
    assert "no moving pictures" in refusal(drawing.audio())


@pytest.mark.parametrize(
    "content",
    [
        b"This is no video, whatever it is called.",
        b"\x1aE\xdf\xa3" + bytes(400),
        b"\0\0\0\x20ftypisom" + bytes(600),
        b"RIFF\xff\xff\xff\xffAVI LIST" + b"\xff" * 400,
        b"\x47" + bytes(187) * 3,
    ],
)
def test_what_only_looks_like_a_video_is_refused(content):
    assert refusal(content)


def test_a_file_that_is_cut_before_its_index_is_refused():
    whole = drawing.mp4(seconds=6)
    assert "no video of a kind" in refusal(whole[: len(whole) // 2])


def test_of_a_file_that_is_cut_later_the_frames_before_come():
    whole = drawing.video("matroska", codec="libx264", seconds=10, gop=5)
    with decoding.opened(io.BytesIO(whole[: len(whole) // 2])) as opened:
        plan = Plan(mode="every", step_seconds=1.0, mark="x")
        found = [one.seconds for one in opened.frames(plan)]
    assert found[0] == 0.0
    assert 3 <= len(found) <= 7


def test_noise_in_the_middle_costs_frames_and_no_more():
    whole = bytearray(drawing.video("mpegts", codec="mpeg2video", seconds=8, rate=25))
    middle = len(whole) // 2
    whole[middle : middle + 5000] = b"\xa5" * 5000
    found = seconds_of(bytes(whole))
    assert found[0] == 0.0
    assert found[-1] >= 6


def test_a_length_in_the_header_beyond_the_limit_is_refused(settings):
    settings.VIDEO_MAX_SECONDS = 4
    assert "longer than" in refusal(drawing.mp4(seconds=6))


def test_a_gigantic_picture_is_refused(settings):
    settings.MAX_IMAGE_PIXELS = 10_000
    assert "megapixels" in refusal(drawing.mp4(seconds=1))


def test_gigantic_dimensions_in_the_header_take_no_memory():
    content = drawing.mp4(seconds=1)
    at = content.index(b"avc1") + 4 + 24
    huge = content[:at] + struct.pack(">HH", 65_535, 65_535) + content[at + 4 :]
    # The pictures themselves say another size: either that counts, or the file is refused.
    with decoding.opened(io.BytesIO(huge)) as opened:
        try:
            assert opened.probe().width <= 160
        except ImageRefused:
            pass


@pytest.mark.parametrize(
    "playlist",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{target}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile '{target}'\n",
        "<?xml version='1.0'?><MPD><Period><BaseURL>{target}</BaseURL></Period></MPD>",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
    ],
)
def test_a_list_of_other_files_opens_none_of_them(playlist, tmp_path):
    target = tmp_path / "secret.mp4"
    target.write_bytes(drawing.mp4(seconds=1))
    assert "no video of a kind" in refusal(playlist.format(target=target).encode())


def test_a_file_that_refers_to_another_opens_only_itself(tmp_path):
    target = tmp_path / "secret.mp4"
    target.write_bytes(drawing.mp4(seconds=1))
    plain = drawing.mp4(seconds=1)
    # A QuickTime data reference to a file beside it, where "in this file" stood.
    name = str(target).encode()
    reference = struct.pack(">I", 12 + len(name) + 1) + b"url " + bytes(4) + name + b"\0"
    at = plain.index(b"url ") - 4
    crafted = plain[:at] + reference + plain[at + 12 :]
    assert refusal(crafted)


def test_a_decoder_that_takes_too_long_is_told_of_a_video(settings):
    settings.DECODE_SECONDS = 1
    settings.VIDEO_DECODE_SECONDS = 0
    content = drawing.mp4(seconds=20)
    with pytest.raises(ImageRefused, match="longer than 0 seconds"):
        frames_of(content, step=0.2)


@pytest.mark.slow
def test_what_its_frames_are_used_for_is_no_time_of_the_video_s(monkeypatch, settings):
    monkeypatch.setattr(decoding, "_FRAMES_AT_ONCE", 1)
    settings.VIDEO_DECODE_SECONDS = 2
    content = drawing.mp4(seconds=6)
    with decoding.opened(io.BytesIO(content)) as opened:
        opened.probe()  # a process has begun
        frames = opened.frames(Plan(mode="every", step_seconds=1.0, mark="x"))
        assert len([time.sleep(0.5) for _ in frames]) >= 6


@pytest.mark.slow
def test_the_wait_for_a_free_process_is_no_time_of_the_video_s(monkeypatch, settings):
    settings.DECODE_PROCESSES = 1
    monkeypatch.setattr(decoding, "_FRAMES_AT_ONCE", 1)
    settings.VIDEO_DECODE_SECONDS = 2
    decoders.close()
    content = drawing.mp4(seconds=3)
    probed(content)  # a process has begun
    taken = threading.Event()

    def hold() -> None:
        with decoders._current.pool()._slot(None):
            taken.set()
            time.sleep(2.5)

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        taken.wait(60)
        assert len(frames_of(content)) >= 3
    finally:
        holder.join()
        decoders.close()


def test_key_frames_further_apart_than_one_call_works_cost_time_and_no_frame(monkeypatch):
    # Each call begins again at the key frame before, here the first frame of all.
    monkeypatch.setattr(decoding, "_CALL_SECONDS", 0.001)
    content = drawing.mp4(seconds=60, rate=25, gop=10_000)
    assert seconds_of(content, step=20.0) == [0.0, 20.0, 40.0]


def test_key_frames_too_far_apart_for_any_call_are_named_as_the_reason(monkeypatch, settings):
    monkeypatch.setattr(decoding, "_CALL_SECONDS", 0.001)
    monkeypatch.setattr(decoding, "_MOST_OF_A_CALL", 0.002 / settings.DECODE_SECONDS)
    with pytest.raises(ImageRefused, match="key frames lie too far apart"):
        seconds_of(drawing.mp4(seconds=60, rate=25, gop=10_000), step=50.0)
