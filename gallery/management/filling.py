"""Waiting on a terminal until a space is filled."""

from __future__ import annotations

import time
from typing import Never

from django.core.management.base import CommandError, OutputWrapper
from tqdm import tqdm

from embeddings.models import Space
from gallery import tasks
from gallery.subjects import ALL
from gallery.switching.progress import lack_of, note_filled, progress
from gallery.switching.records import NO_WORKER, has_worker

POLL_SECONDS = 1.0


class Bar:
    """A progress bar over images and captions; not on a terminal, it is silent."""

    def __init__(self, stderr: OutputWrapper) -> None:
        self._stderr = stderr

    def wait(self, space: Space) -> None:
        """Return when nothing is left to be embedded but what is parked.

        Raise CommandError as soon as nobody works on it: no worker, no encoder, paused, retired.
        """
        for kind in ALL:
            kind.queue.add_missing(space)
        with tqdm(desc="embedding", unit="vector", disable=None) as bar:
            while not self._is_filled(space, bar):
                tasks.wake()
                time.sleep(POLL_SECONDS)

    def _is_filled(self, space: Space, bar: tqdm[Never]) -> bool:
        space.refresh_from_db()
        known = progress(space)
        bar.total = sum(count.total for count in known.counts)
        bar.update(sum(count.done for count in known.counts) - bar.n)
        # Jobs that were just added are left, too; what is embedded again is not waited for.
        if not known.left or (space.filled_at and not lack_of(space)):
            note_filled(space)
            return True
        if space.state == Space.State.RETIRED or space.is_paused:
            raise CommandError(f"{space} is {'paused' if space.is_paused else 'retired'} now.")
        if space.trouble or not has_worker():
            raise CommandError(
                f"{space.trouble or NO_WORKER} The space is kept as it is: the same command goes "
                "on from there."
            )
        return False
