"""Ways of spoiling files: bytes at random, and the fields of a format with its checks mended."""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Callable
from random import Random
from typing import Any

Mutate = Callable[[Random, bytes], bytes]

MOST_BYTES = 400_000  # a file is not made larger than that
_NUMBERS = (0, 1, -1, 2, 7, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**24, 2**31 - 1, 2**31)
_WIDE = (2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1)
_TEXTS = (
    "", "\0", '"', "'", ",", "\t", "\n", "\r", "\\", "\\u0000", "\ud800", "\u202e", "\ufeff", "../",
    "/etc/passwd", "http://[", "https://e.org/1.jpg", "javascript:1", "file:///etc/passwd", "nan",
    "-inf", "1e999", "9" * 400, "-0", "٣", "0000:00:00 00:00:00", "2017-03-01T00:00:00+99:99",
    "9999-12-31T23:59:59Z", "=cmd()", "[" * 2000, '{"a":' * 60, "x" * 70_000, "null", "true",
    "photoTakenTime", "url", "ImageID",
)  # fmt: skip


def bytes_at_random(random: Random, content: bytes) -> bytes:
    """Change, remove, repeat or add a few bytes somewhere."""
    if not content:
        return random.randbytes(random.randrange(1, 64))
    at = random.randrange(len(content))
    length = min(len(content) - at, random.choice((1, 1, 2, 4, 16, 256, 4096)))
    match random.randrange(7):
        case 0:
            return _put(content, at, bytes([content[at] ^ 1 << random.randrange(8)]))
        case 1:
            return _put(content, at, random.choice((b"\0", b"\xff", b"\x7f", b"\x80")) * length)
        case 2:
            return content[:at] + content[at + length :]
        case 3:
            times = random.choice((2, 3, 50))
            return content[:at] + content[at : at + length] * times + content[at + length :]
        case 4:
            return content[:at]
        case 5:
            return content[:at] + random.randbytes(length) + content[at:]
        case _:
            other = random.randrange(len(content))
            return _put(content, at, content[other : other + length])


def numbers(random: Random, content: bytes) -> bytes:
    """Overwrite what may be a length, a count or an offset."""
    size = random.choice((1, 2, 4, 4, 8))
    if len(content) < size:
        return content
    order = random.choice("<>")
    value = random.choice(_NUMBERS + _WIDE + (len(content), random.getrandbits(32)))
    packed = (value % 2 ** (8 * size)).to_bytes(size, "little" if order == "<" else "big")
    return _put(content, random.randrange(len(content) - size + 1), packed)


def text(random: Random, content: bytes) -> bytes:
    """Put texts that mean something into a text, or move its lines about."""
    at = random.randrange(len(content) + 1)
    if random.random() < 0.5:
        odd = random.choice(_TEXTS).encode("utf-8", "surrogatepass")
        end = at if random.random() < 0.5 else min(len(content), at + len(odd))
        return content[:at] + odd + content[end:]
    lines = content.splitlines(keepends=True) or [b""]
    line = random.randrange(len(lines))
    match random.randrange(5):
        case 0:
            lines.insert(random.randrange(len(lines) + 1), lines[line])
        case 1:
            del lines[line]
        case 2:
            lines[line] = lines[line] * random.choice((2, 20))
        case 3:
            lines[line] = re.sub(rb"[0-9]+", _odd_number(random), lines[line])
        case _:
            encoding = random.choice(("utf-16", "utf-16-le", "utf-32", "latin-1", "cp037"))
            return content.decode(errors="replace").encode(encoding, "replace")
    return b"".join(lines)


def json_values(random: Random, content: bytes) -> bytes:
    """Replace values of a JSON text, or of one of its lines, keeping it JSON."""
    lines = content.split(b"\n")
    at = random.randrange(len(lines))
    try:
        value = json.loads(lines[at] if len(lines) > 1 else content)
    except (ValueError, RecursionError):
        return text(random, content)
    spoiled = json.dumps(_spoiled(random, value)).encode()
    if len(lines) == 1:
        return spoiled
    lines[at] = spoiled
    return b"\n".join(lines)


def png(random: Random, content: bytes) -> bytes:
    """Spoil, repeat or move chunks, and write their CRC anew."""
    chunks = []
    at = 8
    while at + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, at)
        if at + 12 + length > len(content):
            break
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += 12 + length
    if not chunks:
        return content
    which = random.randrange(len(chunks))
    kind, data = chunks[which]
    match random.randrange(4):
        case 0:
            chunks.insert(random.randrange(len(chunks)), chunks[which])
        case 1:
            odd = (b"acTL", b"fcTL", b"iCCP", b"tRNS", b"PLTE", b"zTXt", b"eXIf", b"tIME", b"gAMA")
            chunks.insert(random.randrange(1, len(chunks) + 1), (random.choice(odd), data))
        case _:
            spoil = random.choice((bytes_at_random, numbers))
            if kind == b"IDAT" and random.random() < 0.5:
                data = zlib.compress(spoil(random, _inflated(data)))
            else:
                data = spoil(random, data)
            chunks[which] = kind, data
    made = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return content[:8] + made + content[at:]


def tar(random: Random, content: bytes) -> bytes:
    """Spoil a field of a header, and write its sum anew."""
    blocks = len(content) // 512
    headers = [
        at * 512 for at in range(blocks) if content[at * 512 + 257 : at * 512 + 262] == b"ustar"
    ]
    if not headers:
        return bytes_at_random(random, content)
    begin = random.choice(headers)
    at, length = random.choice(
        ((0, 100), (100, 8), (124, 12), (136, 12), (156, 1), (157, 100), (257, 8), (345, 155))
    )
    value = random.choice(
        (
            b"\0" * length, b"7" * length, b"\xff" * length, b"\x80" + b"\0" * (length - 1),
            b"\x80" + b"\x7f" * (length - 1), b"-1", b"../" * 30, b"x" * length,
            random.choice(b"0123456789SLKVxgX").to_bytes(1, "big"), random.randbytes(length),
        )
    )[:length]  # fmt: skip
    header = bytearray(content[begin : begin + 512])
    header[at : at + len(value)] = value
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return _put(content, begin, bytes(header))


def zip_fields(random: Random, content: bytes) -> bytes:
    """Spoil a field of one of the headers of a zip file."""
    marks = [found.start() for found in re.finditer(rb"PK(\x01\x02|\x03\x04|\x05\x06)", content)]
    if not marks:
        return bytes_at_random(random, content)
    at = random.choice(marks) + random.randrange(4, 46)
    size = random.choice((1, 2, 4))
    value = random.choice((*_NUMBERS, len(content), random.getrandbits(32)))
    return _put(content, at, (value % 2 ** (8 * size)).to_bytes(size, "little"))


def cells(random: Random, content: bytes) -> bytes:
    """Put another text into a cell of a delimited table."""
    lines = content.split(b"\n")
    at = random.randrange(len(lines))
    mark = b"\t" if b"\t" in content else b","
    row = lines[at].split(mark)
    odd = random.choice(_TEXTS).encode("utf-8", "surrogatepass")
    row[random.randrange(len(row))] = odd
    lines[at] = mark.join(row)
    return b"\n".join(lines)


def spoil(random: Random, content: bytes, ways: tuple[Mutate, ...]) -> bytes:
    """Return the content spoiled in one to six steps."""
    for _ in range(random.choice((1, 1, 1, 2, 3, 6))):
        content = random.choice(ways)(random, content)[:MOST_BYTES]
    return content


def _put(content: bytes, at: int, piece: bytes) -> bytes:
    return content[:at] + piece + content[at + len(piece) :]


def _inflated(data: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(data, MOST_BYTES)
    except zlib.error:
        return data


def _odd_number(random: Random) -> bytes:
    return str(random.choice(_NUMBERS + _WIDE)).encode()


def _spoiled(random: Random, value: Any) -> Any:
    if isinstance(value, dict) and value and random.random() < 0.8:
        name = random.choice(list(value))
        match random.randrange(5):
            case 0:
                return {key: within for key, within in value.items() if key != name}
            case 1:
                return {
                    random.choice(_TEXTS) if key == name else key: v for key, v in value.items()
                }
            case _:
                return value | {name: _spoiled(random, value[name])}
    if isinstance(value, list) and value and random.random() < 0.8:
        at = random.randrange(len(value))
        match random.randrange(4):
            case 0:
                return value[:at] + value[at + 1 :]
            case 1:
                return value[:at] + [value[at]] * random.choice((2, 60)) + value[at:]
            case _:
                return [*value[:at], _spoiled(random, value[at]), *value[at + 1 :]]
    deep: Any = 1
    for _ in range(random.choice((3, 60, 300))):
        deep = [deep] if random.random() < 0.5 else {"a": deep}
    return random.choice(
        (
            None, True, 0, -1, 0.5, 1e300, 10**400, float("nan"), float("inf"), [], {}, [[]],
            {"a": 1}, deep, [value], random.choice(_TEXTS), random.choice(_NUMBERS),
            ["a"] * 200, {str(number): number for number in range(200)},
        )
    )  # fmt: skip
