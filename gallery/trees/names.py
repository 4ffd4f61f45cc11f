"""What the name of a file tells: how the ledger calls it, and whether it is meant as an image.

Names on disk and in archives are bytes that need not be text; the ledger's keys must be. A key
reads like the path it stands for, spells out what cannot be seen or stored, and leads back to it.
"""

from __future__ import annotations

import re

from django.conf import settings

from gallery import texts

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".gif", ".avif", ".tif", ".tiff"}
    | {".bmp", ".heic", ".heif", ".hif"}
)
VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".webm", ".mkv", ".avi", ".mts"}
    | {".m2ts", ".mpg", ".mpeg", ".flv", ".wmv", ".asf", ".ogv"}
)
OFF = "off"  # VIDEO_FRAMES, where no videos are taken
_NO_VIDEOS = "A video: no videos are taken here (VIDEO_FRAMES)."
ARCHIVE_SUFFIXES = frozenset(
    {".zip", ".tar", ".tgz", ".tbz2", ".txz", ".gz", ".bz2", ".xz", ".7z", ".rar", ".cbz"}
)
# Only what a person may have taken for an image is worth a row: a folder of software or notes
# would fill the ledger.
_LEFT_OUT = {
    "A raw file of a camera: export it as JPEG or TIFF first.": (
        ".dng .cr2 .cr3 .crw .nef .nrw .arw .sr2 .srf .raf .orf .rw2 .pef .srw .raw .rwl .3fr"
    ),
    "An image of a kind that is not taken: JPEG, PNG, WebP, GIF, AVIF, HEIC, TIFF, BMP are.": (
        ".svg .psd .psb .ai .eps .jxl .jp2 .j2k .jpf .ico .icns .tga .pcx .exr .hdr .xcf .wmf .emf"
    ),
    "A document: the images in it are not taken out.": ".pdf .djvu .ppt .pptx .odp .key",
}
_REASON_BY_SUFFIX = {
    suffix: reason for reason, suffixes in _LEFT_OUT.items() for suffix in suffixes.split()
} | dict.fromkeys(
    ARCHIVE_SUFFIXES, "An archive inside is not opened: import it by itself, as archive."
)

# What systems put beside people's files.
_CLUTTER = frozenset(
    {"__macosx", "@eadir", "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin"}
    | {"system volume information", "lost+found"}
)
_ESCAPE = re.compile(r"\\(?:\\|x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8}))")


def key_of(path: str) -> str:
    """Return the path as text that Postgres holds and a person can read, the same every time.

    Undecodable bytes are expected as the surrogates of `os.fsdecode`.
    """
    if path.isprintable() and "\\" not in path:
        return path
    return "".join(map(_escaped, path))


def path_of(key: str) -> str:
    """Return the path that `key_of` was given. Raise ValueError for what it never returns."""
    if "\\" not in key:
        return key
    path = _ESCAPE.sub(_unescaped, key)
    if key_of(path) != key:
        raise ValueError("not a key")
    return path


def _escaped(character: str) -> str:
    if character == "\\":
        return r"\\"
    if character.isprintable():
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _unescaped(match: re.Match[str]) -> str:
    byte, short, long = match.groups()
    if byte:
        return chr(0xDC00 + int(byte, 16))
    return chr(int(short or long, 16)) if short or long else "\\"


def suffix_of(name: str) -> str:
    """Return the suffix in lower case, as a person sees it: without marks and blanks behind it."""
    stem, dot, suffix = name.rpartition(".")
    if not (suffix.isascii() and suffix.isprintable() and suffix == suffix.strip()):
        suffix = texts.printable(suffix)
    return f".{suffix.lower()}" if dot and stem else ""


def stem_of(name: str) -> str:
    """Return the name without its suffix, in lower case."""
    return name.rpartition(".")[0].lower()


def is_image(name: str) -> bool:
    """Whether the name says that the file is an image; what it is, its bytes will tell."""
    return suffix_of(name) in IMAGE_SUFFIXES


def is_video(name: str) -> bool:
    """Whether the name says that the file is a video, and videos are taken."""
    return settings.VIDEO_FRAMES != OFF and suffix_of(name) in VIDEO_SUFFIXES


def is_taken(name: str) -> bool:
    """Whether the name says that the file is an image, or a video where these are taken."""
    return is_image(name) or is_video(name)


def taken_suffixes() -> frozenset[str]:
    """Return the endings of what is taken."""
    return IMAGE_SUFFIXES if settings.VIDEO_FRAMES == OFF else IMAGE_SUFFIXES | VIDEO_SUFFIXES


def is_hidden(name: str) -> bool:
    """Whether a file or folder is hidden, or a system's own beside people's files."""
    return name.startswith(".") or name.lower() in _CLUTTER


def why_left_out(name: str) -> str:
    """Return why a file is not taken, when a person may have thought it is one; else ""."""
    suffix = suffix_of(name)
    return _NO_VIDEOS if suffix in VIDEO_SUFFIXES else _REASON_BY_SUFFIX.get(suffix, "")


def shown(name: str) -> str:
    """Return the name of a file for people."""
    if name.isascii() and name.isprintable() and len(name) <= texts.MAX_FILE_NAME:
        return name
    return texts.file_name(name)
