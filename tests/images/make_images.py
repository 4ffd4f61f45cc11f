"""Makes the image files of the tests: every format, every colour mode, and hostile ones.

`python -m tests.images.make_images FOLDER` writes them all, to try them on a page by hand.
"""

from __future__ import annotations

import io
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pillow_heif
from PIL import Image

pillow_heif.register_heif_opener()

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "AVIF", "TIFF", "BMP", "HEIF")
MODES = {
    "JPEG": ("L", "RGB", "CMYK"),
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F"),
    "WEBP": ("RGB", "RGBA"),
}


def scene(width: int = 60, height: int = 40) -> Image.Image:
    """Left half red, right half blue, a green bar on top: no turn or mirror goes unseen."""
    image = Image.new("RGB", (width, height), "red")
    image.paste("blue", (width // 2, 0, width, height))
    image.paste("green", (0, 0, width, height // 5))
    return image


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def sound(kind: str = "JPEG", *, width: int = 60, height: int = 40, **options: object) -> bytes:
    return encoded(scene(width, height), kind, **options)


def in_mode(kind: str, mode: str) -> bytes:
    image = scene()
    if mode == "I;16":
        deep = image.convert("L").point([value * 257 for value in range(256)], "I")
        return encoded(deep.convert("I;16"), kind)
    return encoded(image.convert(mode), kind)


def animation(kind: str, frames: int) -> bytes:
    images = [
        Image.new("RGB", (8, 8), (index * 20 % 256, index * 50 % 256, 99))
        for index in range(frames)
    ]
    return encoded(images[0], kind, save_all=True, append_images=images[1:])


def jpeg_with_segments(segments: bytes) -> bytes:
    plain = sound()
    return plain[:2] + segments + plain[2:]


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def png_chunk(kind: bytes, content: bytes) -> bytes:
    check = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


def png(width: int, height: int, *, colour_type: int = 0, bits: int = 1, **chunks: bytes) -> bytes:
    """A PNG of zeros whose header says what it likes, with further chunks before the pixels."""
    head = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    row = bytes(1 + (width * bits + 7) // 8)
    packer = zlib.compressobj(9)
    pixels = b"".join(packer.compress(row) for _ in range(min(height, 20_000))) + packer.flush()
    middle = b"".join(png_chunk(kind.encode(), content) for kind, content in chunks.items())
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            png_chunk(b"IHDR", head),
            middle,
            png_chunk(b"IDAT", pixels),
            png_chunk(b"IEND", b""),
        ]
    )


def polyglot() -> bytes:
    """A JPEG that a browser might read as a page and an unpacker as an archive."""
    page = segment(0xFE, b"<html><script>alert(1)</script></html>")
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("page.html", "<script>alert(1)</script>")
    return jpeg_with_segments(page) + archive.getvalue()


def gif_frames(count: int) -> bytes:
    """A GIF of `count` one-pixel frames."""
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    return b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + bytes(6) + frame * count + b";"


def gif_comment(pieces: int) -> bytes:
    """A GIF with a comment cut into pieces of one byte."""
    whole = gif_frames(1)
    return whole[:19] + b"\x21\xfe" + b"\x01x" * pieces + b"\x00" + whole[19:]


def tiff_pages(count: int, *, is_circular: bool = False) -> bytes:
    """A TIFF of `count` one-pixel pages; a circular one's last page names the first as next."""
    size = 2 + 12 * 8 + 4
    pages = []
    for index in range(count):
        following = 8 + size * (index + 1) if index + 1 < count else 8 * is_circular
        tags = [(256, 1), (257, 1), (258, 8), (259, 1), (262, 1), (273, 8), (278, 1), (279, 1)]
        entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
        pages.append(struct.pack("<H", len(tags)) + entries + struct.pack("<I", following))
    return b"II*\x00" + struct.pack("<I", 8) + b"".join(pages)


NOT_TAKEN: dict[str, Callable[[], bytes]] = {
    "text.jpg": lambda: b"This is no image.",
    "page.jpg": lambda: b"<html><script>alert(1)</script></html>",
    "drawing.svg": lambda: b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
    "layers.psd": lambda: b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, 9, 9, 8, 3) + bytes(300),
    "print.eps": lambda: encoded(scene(), "EPS"),
    "texture.dds": lambda: encoded(scene(), "DDS"),
    "document.pdf": lambda: encoded(scene(), "PDF"),
    "icon.ico": lambda: encoded(scene(), "ICO"),
    "raw.ppm": lambda: encoded(scene(), "PPM"),
    "jpeg2000.jp2": lambda: encoded(scene(), "JPEG2000"),
    "targa.tga": lambda: encoded(scene(), "TGA"),
    "font.pcf": lambda: b"\x01fcp" + bytes(200),
    "archive.zip": lambda: polyglot()[polyglot().index(b"PK\x03\x04") :],
}

BOMBS: dict[str, Callable[[], bytes]] = {
    "100-megapixels.png": lambda: png(10_000, 10_000),
    "4-gigapixels.png": lambda: png(65_000, 65_000),
    "60-megapixels.png": lambda: png(10_000, 6_000),
    "huge-header.gif": lambda: b"GIF89a\xff\xff\xff\xff" + gif_frames(1)[10:],
    "huge-header.bmp": lambda: (
        sound("BMP")[:18] + struct.pack("<ii", 60_000, 60_000) + sound("BMP")[26:]
    ),
    "huge-header.webp": lambda: (
        b"RIFF\x1e\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00\x10\x00\x00\x00\xff\xff\x3f\xff\xff\x3f"
        + bytes(8)
    ),
    "one-row.png": lambda: png(40_000_000, 1),
}

ENDLESS: dict[str, Callable[[], bytes]] = {
    "exif-segments.jpg": lambda: jpeg_with_segments(
        segment(0xE1, b"Exif\x00\x00" + b"x" * 200) * 40_000
    ),
    "empty-segments.jpg": lambda: jpeg_with_segments(segment(0xE5, b"") * 1_000_000),
    "empty-chunks.png": lambda: png(8, 8)[:33] + png_chunk(b"teSt", b"") * 300_000 + png(8, 8)[33:],
    "comment.gif": lambda: gif_comment(3_000_000),
}

DAMAGED: dict[str, Callable[[], bytes]] = {
    "text-bomb.png": lambda: png(
        8, 8, zTXt=b"Comment\x00\x00" + zlib.compress(bytes(50_000_000), 9)
    ),
    "profile-bomb.png": lambda: png(
        8, 8, iCCP=b"profile\x00\x00" + zlib.compress(bytes(50_000_000), 9)
    ),
    "no-palette.png": lambda: png(8, 8, colour_type=3, bits=8),
    "no-pixels.png": lambda: png(8, 8)[:33],
    "zero.png": lambda: png(0, 0),
    "twelve-bits.jpg": lambda: sound().replace(b"\xff\xc0\x00\x11\x08", b"\xff\xc0\x00\x11\x0c", 1),
}


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for kind in FORMATS:
        (folder / f"sound.{kind.lower()}").write_bytes(sound(kind))
    (folder / "polyglot.jpg").write_bytes(polyglot())
    for name, make in (NOT_TAKEN | BOMBS | ENDLESS | DAMAGED).items():
        (folder / name).write_bytes(make())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
