"""Any file: an image or a video, told by its bytes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

from django.conf import settings
from django.db import IntegrityError

from gallery import ingest
from gallery.errors import ImageRefused, StorageUnavailable
from gallery.ingest import Added, NewImage
from gallery.models import Image
from gallery.trees import names
from gallery.videos import adding
from gallery.videos.containers import KINDS, Container, container_of

_TRIES = 3
_one_video = threading.Lock()


class VideosBusy(StorageUnavailable):
    """This process is at the video of another sender; nothing is wrong with this one."""


def add_file(new: NewImage, *, note: Callable[[Added], None] = lambda _: None) -> Added:
    """Store an image, or a video with its frames; raise as `ingest.add_image` does."""
    container = _video(new)
    if container is None:
        return _unless_deleted(partial(ingest.add_image, new, note=note))
    return _unless_deleted(partial(adding.add_video, new, container, note=note))


def add_sent_file(new: NewImage, *, note: Callable[[Added], None] = lambda _: None) -> Added:
    """Do what `add_file` does, for a sender who waits. Raise VideosBusy, having done nothing.

    One video at a time holds one thread of a process; the others are there for all else.
    """
    if _video(new) is None:
        return add_file(new, note=note)
    if not _one_video.acquire(blocking=False):
        raise VideosBusy("The server is at another video. Send this one again in some minutes.")
    try:
        return add_file(new, note=note)
    finally:
        _one_video.release()


def look_at(new: NewImage) -> Image | None:
    """Say what `add_file` would do, and store nothing, as `ingest.look_at` does."""
    return ingest.look_at(new) if _video(new) is None else adding.look_at(new)


def _unless_deleted(add: Callable[[], Added]) -> Added:
    """Add a file; anew where its album, or the image that was there, is just being deleted."""
    for _ in range(_TRIES - 1):
        try:
            return add()
        except IntegrityError:
            continue
    return add()


def _video(new: NewImage) -> Container | None:
    """Return what video the file is, None for an image. Raise ImageRefused for no video at all."""
    container = container_of(new.file)
    if container is not None and settings.VIDEO_FRAMES == names.OFF:
        raise ImageRefused("The file is a video, and no videos are taken here.")
    if container is None and names.is_video(new.original_name) and not _begins_as_image(new):
        raise ImageRefused(f"The file is no video of a kind that is taken: {KINDS}.")
    return container


def _begins_as_image(new: NewImage) -> bool:
    """Whether it may be an image with the wrong ending: `ingest` will tell."""
    new.file.seek(0)
    head = new.file.read(12)
    new.file.seek(0)
    starts = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*")
    return head.startswith(starts) or head[4:8] == b"ftyp" or head[8:12] == b"WEBP"
