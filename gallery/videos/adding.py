"""Stores a video with its frames: all of it in one transaction, or nothing.

A process that dies in between leaves files without rows at most, which `check_storage` finds; the
next one begins anew. So a frame is never there twice, and no video lacks some of its frames.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import PurePath

from django.conf import settings
from django.core.files.base import File
from django.db import IntegrityError, transaction
from django.db.models import OuterRef, Subquery

from gallery import ingest
from gallery.decoding import videos as decoding
from gallery.decoding.videos import Frame, OpenVideo, Plan, Probed
from gallery.errors import ImageRefused
from gallery.ingest import Added, NewImage
from gallery.models import Image, Video
from gallery.storage.flows import in_parallel
from gallery.videos import limits
from gallery.videos.containers import Container
from gallery.videos.times import clock

_SHORT = 0.1  # of its length, that the pictures of a sound video may end before the sound
_SCENE_SECONDS = 1.0  # between two frames of different scenes, at least
_STORED_AT_ONCE = 4  # frames: a bucket takes its time for each of their files


def add_video(
    new: NewImage, container: Container, *, note: Callable[[Added], None] = lambda _: None
) -> Added:
    """Store a video and its frames as `ingest.add_image` does an image, and raise the same.

    What is said of the video is said of each frame; the time a frame was taken is that of the
    video and its seconds. The image that comes back is the first frame.
    """
    new = ingest.checked(new)
    size = limits.check_size(new.file)
    sha256 = ingest.sha256_of(new.file)
    held = _held(new, sha256)
    if held is not None:
        note(held)
        return held
    with ExitStack() as undo, decoding.opened(new.file) as opened:
        probed = _probed(opened)
        video = _described(new, container, probed)
        video.sha256, video.bytes = sha256, size
        said = _said_of_all(new, probed)
        frames = _store_frames(video, said, opened, undo)
        new.file.seek(0)
        name = f"videos/{video.uuid.hex[:2]}/{video.uuid}.{container.suffix}"
        video.file = ingest.store_file(name, File(new.file), undo)
        try:
            with ingest.kept_if_unsure(undo):
                added = _store_rows(video, frames, said, note, undo)
        except IntegrityError:
            # Someone else was first with the same video: theirs are the rows, our files go.
            held = _held(new, sha256)
            if held is None:
                raise
            note(held)
            return held
        undo.pop_all()
    return added


def look_at(new: NewImage) -> Image | None:
    """Say what `add_video` would do, and store nothing: the first frame of the video held already.

    None: it would be new. Raise ImageRefused as it would, but for what comes after the beginning.
    """
    new = ingest.checked(new)
    limits.check_size(new.file)
    held = _held(new, ingest.sha256_of(new.file))
    if held is not None:
        return held.image
    with decoding.opened(new.file) as opened:
        _probed(opened)
    return None


def _held(new: NewImage, sha256: str) -> Added | None:
    """Return the first frame of the same video. Raise ImageRefused where it has none."""
    frames = Image.objects.filter(video=OuterRef("uuid")).order_by("video_seconds").values("pk")
    # One statement: beside the video, all its frames come and go in the same moment.
    same = Video.objects.filter(owner_id=new.owner.pk, sha256=sha256)
    known = same.annotate(first=Subquery(frames[:1])).values_list("first", flat=True)
    if not known:
        return None
    if known[0] is None:
        raise ImageRefused("The video is there without frames: delete it in the admin first.")
    first = Image.objects.filter(pk=known[0]).first()
    return Added(first, is_new=False) if first else None


def _probed(opened: OpenVideo) -> Probed:
    probed = opened.probe()
    most = settings.VIDEO_MAX_SECONDS
    if probed.seconds > most:
        raise ImageRefused(
            f"The video is {probed.seconds / 60:,.1f} minutes long; at most {most / 60:,g} minutes "
            "are taken."
        )
    return probed


def _described(new: NewImage, container: Container, probed: Probed) -> Video:
    """Return the record, unsaved, without its file."""
    return Video(
        owner_id=new.owner.pk,
        original_name=new.original_name,
        mime_type=container.mime_type,
        width=probed.width,
        height=probed.height,
        seconds=probed.seconds,
        visibility=new.visibility,
    )


def _said_of_all(new: NewImage, probed: Probed) -> NewImage:
    """Return what is said of every frame: what the video's maker wrote where its sender is mute."""
    is_placed = new.latitude is not None
    return replace(
        new,
        original=None,  # its frames are nowhere else
        taken_at=new.taken_at or probed.taken_at,
        camera=new.camera or probed.camera,
        latitude=new.latitude if is_placed else probed.latitude,
        longitude=new.longitude if is_placed else probed.longitude,
    )


def _plan(video: Video) -> Plan:
    """Return how frames are taken: further apart where they would be too many otherwise."""
    is_every = settings.VIDEO_FRAMES == "every"
    least = float(settings.VIDEO_FRAME_SECONDS if is_every else _SCENE_SECONDS)
    # Half a frame less, because the first one is at 0.
    step = max(least, video.seconds / (settings.VIDEO_MAX_FRAMES - 0.5))
    return Plan(mode=settings.VIDEO_FRAMES, step_seconds=step, mark=str(video.uuid))


def _store_frames(video: Video, said: NewImage, opened: OpenVideo, undo: ExitStack) -> list[Image]:
    """Store the files of all frames; return their records, unsaved."""
    frames = opened.frames(_plan(video))
    # While some are stored, the next are decoded.
    store = partial(_stored, said, undo)
    most = itertools.islice(frames, settings.VIDEO_MAX_FRAMES)
    images = list(in_parallel(store, most, threads=_STORED_AT_ONCE))
    if not images:
        raise ImageRefused("No picture of the video can be decoded.")
    is_whole = len(images) < settings.VIDEO_MAX_FRAMES or next(frames, None) is None
    video.notice = _notice(video, opened, None if is_whole else images[-1].video_seconds)
    video.seconds = max(video.seconds, images[-1].video_seconds or 0.0)
    return images


def _notice(video: Video, opened: OpenVideo, ended_at: float | None) -> str:
    """Return what of the video has no frames, and why, for people."""
    if ended_at is not None:
        return f"There are no frames of it after {clock(ended_at)}: it has too many."
    if video.seconds - opened.reached > max(1.0, _SHORT * video.seconds):
        return (
            f"Its pictures end at {clock(opened.reached)}, though it says that it is "
            f"{clock(video.seconds)} long."
        )
    return "Parts of it are damaged and have no frames." if opened.is_damaged else ""


def _stored(said: NewImage, undo: ExitStack, frame: Frame) -> Image:
    """Store the files of a frame; return its record, unsaved."""
    new = replace(
        said,
        file=io.BytesIO(frame.jpeg),
        original_name=_name(said.original_name, frame.seconds),
        taken_at=said.taken_at and said.taken_at + timedelta(seconds=frame.seconds),
    )
    image = ingest.described(new, frame.studied)
    image.sha256 = image.pixel_sha256 = ingest.sha256_of(new.file)
    image.video_seconds = frame.seconds
    ingest.store_files(image, new, frame.studied, undo)
    return image


def _name(original_name: str, seconds: float) -> str:
    """Return the name of a frame, such as `beach 01m23s.jpg`."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{PurePath(original_name).stem[:200]} {minutes:02}m{rest:02}s.jpg".strip()


@transaction.atomic
def _store_rows(
    video: Video,
    frames: list[Image],
    said: NewImage,
    note: Callable[[Added], None],
    undo: ExitStack,
) -> Added:
    video.save(force_insert=True)
    for image in frames:
        image.video = video
    ingest.store_records(frames, said)
    added = Added(frames[0], is_new=True)
    note(added)
    ingest.settle(undo)
    return added
