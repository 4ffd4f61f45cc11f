"""Draws the videos of the tests with PyAV: small, and with whatever is odd about a video."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import Any

import av
from PIL import Image, ImageDraw

from gallery.models import Video
from gallery.videos.intake import add_file
from tests.rows import make_user

SIZE = (160, 120)
COLOURS = ((250, 240, 120), (30, 60, 90), (200, 60, 40), (20, 20, 20), (230, 230, 230))

Picture = Callable[[float], Image.Image]


def scenes(seconds: float) -> Image.Image:
    """Another bright or dark scene each three seconds, with a ball that rolls through it."""
    image = Image.new("RGB", SIZE, COLOURS[int(seconds // 3) % len(COLOURS)])
    x = int(seconds * 40) % SIZE[0]
    ImageDraw.Draw(image).ellipse((x, 30, x + 50, 80), fill=(120, 120, 120))
    return image


def still(seconds: float) -> Image.Image:
    """Always the same."""
    return scenes(0)


def quarters(seconds: float) -> Image.Image:
    """Left half dark, right half bright, a red bar on top: no turn goes unseen."""
    image = Image.new("RGB", SIZE, (20, 20, 60))
    draw = ImageDraw.Draw(image)
    draw.rectangle((SIZE[0] // 2, 0, SIZE[0], SIZE[1]), fill=(200, 220, 250))
    draw.rectangle((0, 0, SIZE[0], SIZE[1] // 4), fill=(220, 30, 30))
    # Something moves, so that frames differ.
    draw.rectangle((0, 60, 10 + int(seconds * 10), 80), fill=(120, 160, 120))
    return image


def video(
    kind: str = "webm",
    *,
    codec: str = "libvpx",
    seconds: float = 6,
    rate: int = 10,
    picture: Picture = scenes,
    times: Iterable[float] | None = None,
    size: tuple[int, int] = SIZE,
    gop: int = 10,
    options: dict[str, str] | None = None,
    change: Callable[[Any, Any], None] = lambda _container, _stream: None,
) -> bytes:
    """Return a video of so many seconds, a frame at each of `times`, or `rate` of them a second."""
    file = io.BytesIO()
    given = times if times is not None else [n / rate for n in range(round(seconds * rate))]
    with av.open(file, "w", format=kind, options=options or {}) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height = size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.gop_size = gop
        stream.codec_context.time_base = Fraction(1, 1000 if times is not None else rate)
        change(container, stream)
        for at in given:
            image = picture(at)
            frame = av.VideoFrame.from_image(image.resize(size) if size != SIZE else image)
            frame.time_base = stream.codec_context.time_base
            frame.pts = round(at / frame.time_base)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()


def mp4(**given: Any) -> bytes:
    return video("mp4", codec="libx264", **given)


def audio() -> bytes:
    """Return an MP4 file with a sound and no picture."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=44_100, layout="mono")
        for n in range(20):
            frame = av.AudioFrame(format="fltp", layout="mono", samples=1024)
            for plane in frame.planes:
                plane.update(bytes(plane.buffer_size))
            frame.sample_rate, frame.pts = 44_100, n * 1024
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()


def stored(content: bytes | None = None, owner: str = "ann", **given: Any) -> Video:
    """Return a video of the gallery, brought in as every video is."""
    from gallery.ingest import NewImage

    given = {"visibility": "public", "original_name": "film.webm"} | given
    file = io.BytesIO(video() if content is None else content)
    added = add_file(NewImage(file=file, owner=make_user(owner), **given))
    assert added.image.video is not None
    return added.image.video
