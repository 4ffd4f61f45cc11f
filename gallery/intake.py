"""Takes many images in, on several threads: what importers and the demo yield goes through here."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from threading import Barrier

from django.contrib.auth.base_user import AbstractBaseUser
from django.db import connections

from gallery.errors import ImageRefused
from gallery.importers import Item
from gallery.ingest import NewImage, add_image

# Decoding and WebP run outside of Python's lock; more threads than this wait for it.
THREADS = 3


@dataclass(frozen=True, kw_only=True)
class Defaults:
    """What is said of all items of one intake; an item's own word goes first, tags add up."""

    owner: AbstractBaseUser
    tags: tuple[str, ...] = ()
    album: str = ""
    visibility: str = ""


@dataclass(frozen=True)
class Outcome:
    """What became of an item: new, already there, or refused with a sentence."""

    name: str
    is_new: bool = False
    refusal: str = ""


def take_in(items: Iterable[Item], defaults: Defaults) -> Generator[Outcome, None, None]:
    """Add the items and yield their outcomes as they come, in no fixed order.

    Ended early, it finishes the images in progress and leaves the others untouched.
    """
    with ThreadPoolExecutor(THREADS, thread_name_prefix="intake") as pool:
        waiting: set[Future[Outcome]] = set()
        try:
            for item in items:
                waiting.add(pool.submit(_add, item, defaults))
                if len(waiting) >= 2 * THREADS:  # a few ahead, never the whole source
                    done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in done)
            while waiting:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        finally:
            for future in waiting:
                future.cancel()
            # Django keeps a connection for every thread, which only that thread may close: the
            # barrier gives each of them exactly one of these.
            barrier = Barrier(THREADS)
            for _ in range(THREADS):
                pool.submit(_close_connections, barrier)


def _add(item: Item, defaults: Defaults) -> Outcome:
    try:
        with item.open() as file:
            _, is_new = add_image(
                NewImage(
                    file=file,
                    owner=defaults.owner,
                    original_name=item.name,
                    caption=item.caption,
                    tags=(*item.tags, *defaults.tags),
                    album=item.album or defaults.album,
                    category=item.category,
                    metadata=item.metadata,
                    source_url=item.source_url,
                    licence=item.licence,
                    attribution=item.attribution,
                    visibility=item.visibility or defaults.visibility,
                    taken_at=item.taken_at,
                    captions=item.captions,
                )
            )
    except ImageRefused as refusal:
        return Outcome(item.name, refusal=str(refusal))
    except (PermissionError, FileNotFoundError) as error:
        return Outcome(item.name, refusal=f"The file cannot be read: {error.strerror}.")
    return Outcome(item.name, is_new=is_new)


def _close_connections(barrier: Barrier) -> None:
    barrier.wait()
    connections.close_all()
