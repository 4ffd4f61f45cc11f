"""What video a file is, by its first bytes. A name or content type is never asked."""

from __future__ import annotations

from typing import IO, NamedTuple

HEAD_BYTES = 512


class Container(NamedTuple):
    """A kind of file that holds moving pictures."""

    name: str  # for people
    mime_type: str
    suffix: str
    is_shown: bool  # whether browsers play it, if they know the codecs in it


MP4 = Container("MP4", "video/mp4", "mp4", is_shown=True)
MOV = Container("QuickTime", "video/quicktime", "mov", is_shown=True)
THREE_GP = Container("3GP", "video/3gpp", "3gp", is_shown=True)
WEBM = Container("WebM", "video/webm", "webm", is_shown=True)
MATROSKA = Container("Matroska", "video/x-matroska", "mkv", is_shown=True)
AVI = Container("AVI", "video/x-msvideo", "avi", is_shown=False)
MPEG_TS = Container("MPEG-TS", "video/mp2t", "ts", is_shown=False)
MPEG = Container("MPEG", "video/mpeg", "mpg", is_shown=False)
FLV = Container("FLV", "video/x-flv", "flv", is_shown=False)
WMV = Container("WMV", "video/x-ms-wmv", "wmv", is_shown=False)
OGG = Container("Ogg", "video/ogg", "ogv", is_shown=True)

ALL = (MP4, MOV, THREE_GP, WEBM, MATROSKA, AVI, MPEG_TS, MPEG, FLV, WMV, OGG)
KINDS = ", ".join(container.name for container in ALL)
BY_MIME_TYPE = {container.mime_type: container for container in ALL}

# As FFmpeg calls the readers of these. No other is let near a file: some of them open further
# files, or addresses, that the first one names.
FFMPEG_FORMATS = ("mov", "matroska", "avi", "mpegts", "mpeg", "flv", "asf", "ogg")

_STARTS = {
    b"FLV\x01": FLV,
    b"OggS\0": OGG,
    b"\0\0\x01\xba": MPEG,
    bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"): WMV,
}
# Of HEIC, AVIF and raw files, which have the same boxes as MP4.
_IMAGE_BRANDS = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
    | {b"mif1", b"msf1", b"miaf", b"avif", b"avis", b"1pic", b"crx "}
)
_OLD_QUICKTIME = frozenset({b"moov", b"mdat", b"wide", b"pnot"})
_BRAND = 4  # bytes


def container_of(file: IO[bytes]) -> Container | None:
    """Return what video the file begins as; None for all else, images among it."""
    file.seek(0)
    head = file.read(HEAD_BYTES)
    file.seek(0)
    return begins_as(head)


def begins_as(head: bytes) -> Container | None:
    """Return the container whose files begin so, or None."""
    for start, container in _STARTS.items():
        if head.startswith(start):
            return container
    if head.startswith(b"\x1aE\xdf\xa3"):
        return WEBM if b"webm" in head[:64] else MATROSKA
    if head.startswith(b"RIFF") and head[8:11] == b"AVI":
        return AVI
    if head[4:8] == b"ftyp":
        return _of_brands(head)
    if head[4:8] in _OLD_QUICKTIME:
        return MOV
    return MPEG_TS if _is_transport_stream(head) else None


def _of_brands(head: bytes) -> Container | None:
    end = min(int.from_bytes(head[:4]), len(head))
    major = head[8:12]
    compatible = {head[at : at + _BRAND] for at in range(16, end - _BRAND + 1, _BRAND)}
    if _IMAGE_BRANDS & (compatible | {major}):
        return None
    if major == b"qt  ":
        return MOV
    return THREE_GP if major.startswith((b"3gp", b"3g2")) else MP4


def _is_transport_stream(head: bytes) -> bool:
    """Whether packets of 188 bytes begin with their mark; cameras put four bytes before each."""
    return any(
        len(head) > start + 2 * size and all(head[start + n * size] == 0x47 for n in range(3))
        for start, size in ((0, 188), (4, 192))
    )
