"""Opens files that nobody has vouched for, in processes that may die of them.

`inspection` says what is refused and why; here is only where it runs. Each function raises
ImageRefused, DecoderDied among them, for what is wrong with the file; passes on an OSError of the
file itself; and raises DecodersUnavailable when no process can be started, or, for who waits, none
is free in time.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from io import BufferedRandom, BufferedReader, FileIO
from typing import IO, Any, NamedTuple

import numpy as np
from django.conf import settings
from PIL import Image as PillowImage
from PIL.Image import Image as Pixels

from embeddings.encoders.framing import Frames, Framing
from gallery import inspection, thumbnails
from gallery.colours import Colour
from gallery.decoding.processes import Answer, Bounds, Pool
from gallery.errors import ImageRefused
from gallery.exif import Exif
from gallery.patience import decoder_seconds, somebody_waits

_MOST_PROCESSES = 8  # by default: each may take some hundred megabytes for a large image
_BASE_BYTES = 2**30  # of address space, with all libraries; little of it is memory
_MOST_IN_MEMORY = 64 * 2**20  # of a file that lies nowhere; a larger one lies on disk meanwhile
_BYTES_A_PIXEL = 24  # the most that a decoder was seen to take, and half as much again


@dataclass(frozen=True, kw_only=True)
class Studied:
    """What a sound file is, and its thumbnails as WebP by their edge."""

    mime_type: str
    width: int  # as displayed
    height: int
    frames: int
    exif: Exif
    colours: list[Colour]
    pixel_sha256: str  # empty: see digests
    perceptual_hash: int | None
    thumbnails: dict[int, bytes]


class Done(NamedTuple):
    """What a process has made of a file."""

    said: dict[str, Any]
    body: bytes | bytearray
    seconds: float  # that it took, without the wait for a process that is free


def study(file: IO[bytes]) -> Studied:
    """Decode a new file once; return all that its record needs."""
    said, body, _ = _ask("study", file, edge=thumbnails.LARGE)
    exif = said["exif"]
    if exif["taken_at"]:
        exif["taken_at"] = datetime.fromisoformat(exif["taken_at"])
    made, start = {}, 0
    for edge, length in said["thumbnails"]:
        made[edge] = bytes(body[start : start + length])
        start += length
    return Studied(**said | {"exif": Exif(**exif), "thumbnails": made})


def open_new(file: IO[bytes], *, edge: int) -> Pixels:
    """Return the RGB pixels of a new file, near `edge`. Somebody waits for them."""
    with somebody_waits():
        return open_foreign(file, edge=edge)


def open_foreign(file: IO[bytes], *, edge: int) -> Pixels:
    """Return the RGB pixels of a file that is not the gallery's, near `edge`, in its turn."""
    return _pixels(_ask("open_new", file, edge=edge))


def open_stored(file: IO[bytes], *, edge: int) -> Pixels:
    """Return the RGB pixels of a file that was taken in before, near `edge`."""
    return _pixels(_ask("open_stored", file, edge=edge))


def frame_stored(file: IO[bytes], framing: Framing) -> Frames:
    """Return what an encoder looks at of a file that was taken in before."""
    said, body, _ = _ask("frame_stored", file, framing=framing.to_json())
    return np.frombuffer(body, np.uint8).reshape(said["shape"])


def processes() -> int:
    """Return how many files are decoded at once."""
    if settings.DECODE_PROCESSES:
        return int(settings.DECODE_PROCESSES)
    return min(os.cpu_count() or 1, _MOST_PROCESSES)


def close() -> None:
    """End the processes, which must be idle. The next file starts others."""
    pool = _current.take()
    if pool is not None:
        pool.close()


def _ask(work: str, file: IO[bytes], **how: Any) -> Done:
    inspection.check_size(file)
    with descriptor_of(file) as descriptor:
        return ask({"work": work, **how}, descriptor)


def ask(request: dict[str, Any], descriptor: int, *, what: str = "image") -> Done:
    """Have one of the works done with an open file."""
    bounds = Bounds(
        seconds=settings.DECODE_SECONDS,
        memory_bytes=_BASE_BYTES + _BYTES_A_PIXEL * settings.MAX_IMAGE_PIXELS,
        wait_seconds=decoder_seconds(),
        what=what,
    )
    return _done(_current.pool().ask({**request, "limits": _limits()}, descriptor, bounds))


def _done(answer: Answer) -> Done:
    said = answer.message.said
    if "refused" in said:
        raise ImageRefused(said["refused"])
    if "failed" in said:
        raise OSError(*said["failed"])
    return Done(said["done"], answer.message.body, answer.seconds)


def _pixels(done: Done) -> Pixels:
    width, height = done.said["size"]
    return PillowImage.frombytes("RGB", (width, height), done.body)


def _limits() -> dict[str, Any]:
    names = ("MAX_IMAGE_BYTES", "MAX_IMAGE_PIXELS", "MAX_IMAGE_FRAMES", "TIME_ZONE")
    return {name: getattr(settings, name) for name in names}


@contextmanager
def descriptor_of(file: IO[bytes]) -> Iterator[int]:
    """Give the descriptor of a file on disk; of any other, of a copy without a name."""
    opened = _on_disk(file)
    if opened is not None:
        if opened.writable():
            opened.flush()
        yield opened.fileno()
        return
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    with _unnamed(size) as copy:
        shutil.copyfileobj(file, copy, 2**20)
        copy.flush()
        yield copy.fileno()


def _on_disk(file: Any) -> BufferedReader | BufferedRandom | None:
    """Return the plain file within Django's and tempfile's wrappers, if that is what it is.

    `fileno()` alone would not do: a GzipFile gives that of the packed file.
    """
    while True:
        if isinstance(file, BufferedReader | BufferedRandom):
            return file if isinstance(file.raw, FileIO) else None
        inner = getattr(file, "file", None)
        if inner is None or inner is file:
            return None
        file = inner


def _unnamed(size: int) -> IO[bytes]:
    if size <= _MOST_IN_MEMORY and hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("image"), "w+b")
    return tempfile.TemporaryFile()


class _Current:
    """The pool of this process, made when the first file comes."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self._lock = threading.Lock()
        self._pool: Pool | None = None

    def pool(self) -> Pool:
        with self._lock:
            if self._pool is None:
                self._pool = Pool(processes())
            return self._pool

    def take(self) -> Pool | None:
        with self._lock:
            pool, self._pool = self._pool, None
            return pool


_current = _Current()
# A process that is forked off has the same sockets, and would read answers that are not its own.
os.register_at_fork(after_in_child=_current.forget)
atexit.register(close)
