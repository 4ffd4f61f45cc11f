"""Lets the steps of embedding overlap: while the encoder has one batch, the next are read.

What asks the database stays in the caller's thread; files are read and decoded in another, and
the encoder works in a third. Few batches are under way, so little is claimed ahead of its time.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from django.conf import settings

from embeddings.vectors import Vectors
from gallery.subjects import Batch, Readable

BATCHES = 3  # one that the encoder has, one that is ready for it, one that is read


class Encoded(NamedTuple):
    """A batch that has been through the encoder; `vectors` gives its vectors or what it raised."""

    batch: Batch
    read: Readable
    vectors: Callable[[], Vectors]


@dataclass
class _UnderWay:
    batch: Batch
    steps: Future[tuple[Readable, Future[Vectors]]]
    extended_at: float  # monotonic seconds


class Overlap:
    """Batches under way, first in, first out. A context manager: it ends its threads."""

    def __init__(self) -> None:
        self._under_way: deque[_UnderWay] = deque()
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="reader")
        self._encoder = ThreadPoolExecutor(1, thread_name_prefix="encoder")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        # What is left is there only after an error. Its leases run out.
        self._reader.shutdown(cancel_futures=True)
        self._encoder.shutdown(cancel_futures=True)

    @property
    def is_empty(self) -> bool:
        return not self._under_way

    @property
    def has_room(self) -> bool:
        """Whether another batch may come. Beside one that failed before, none may."""
        if self.is_empty:
            return True
        return len(self._under_way) < BATCHES and not self._under_way[-1].batch.lease.is_retry

    def add(self, batch: Batch, reading: Callable[[], Readable]) -> None:
        """Begin to read a batch; it is encoded as soon as it is read."""
        steps = self._reader.submit(self._read, reading)
        self._under_way.append(_UnderWay(batch, steps, time.monotonic()))

    def pop(self) -> Encoded:
        """Wait for the batch that was added first. The leases of all are extended meanwhile."""
        first = self._under_way[0]
        self._wait(first.steps)
        read, encoding = first.steps.result()
        self._wait(encoding)
        self._under_way.popleft()
        return Encoded(first.batch, read, encoding.result)

    def _read(self, reading: Callable[[], Readable]) -> tuple[Readable, Future[Vectors]]:
        read = reading()
        return read, self._encoder.submit(read.encode)

    def _wait(self, future: Future[Any]) -> None:
        patience = settings.JOB_LEASE_SECONDS / 3
        while not wait([future], timeout=patience).done:
            self._extend(patience)
        self._extend(patience)

    def _extend(self, patience: float) -> None:
        now = time.monotonic()
        for one in self._under_way:
            if now - one.extended_at > patience:
                one.batch.subjects.queue.extend(one.batch.lease)
                one.extended_at = now
