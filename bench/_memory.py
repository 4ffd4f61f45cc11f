"""What processes hold for themselves alone, noted now and then while something goes on."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import psutil

NOTE_SECONDS = 0.5
DECODER = "decoder"
_A_DECODER = "gallery.decoding.child"  # in its command line


class Note(NamedTuple):
    at: float  # seconds since the epoch
    megabytes: dict[str, float]


@contextmanager
def noted(pids: Mapping[str, int]) -> Iterator[list[Note]]:
    """Note the memory of processes and of what they start, by their names, until the block ends.

    Decoders come and go as images do: they count apart, with the mean of one.
    """
    notes: list[Note] = []
    has_ended = threading.Event()

    def look_on() -> None:
        while not has_ended.wait(NOTE_SECONDS):
            notes.append(Note(time.time(), _look(pids)))

    thread = threading.Thread(target=look_on)
    thread.start()
    try:
        yield notes
    finally:
        has_ended.set()
        thread.join()


def median(notes: list[Note], name: str, *, since: float, until: float) -> float:
    """Return the megabytes in the middle of those that were noted in a time, or nearest to it."""
    named = [note for note in notes if name in note.megabytes]
    of_then = [note.megabytes[name] for note in named if since <= note.at <= until]
    if of_then:
        return statistics.median(of_then)
    nearest = min(named, key=lambda note: abs(note.at - (since + until) / 2))
    return nearest.megabytes[name]


def _look(pids: Mapping[str, int]) -> dict[str, float]:
    megabytes = dict.fromkeys(pids, 0.0)
    decoders: list[float] = []
    for name, pid in pids.items():
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            try:
                private = one.memory_full_info().uss / 1e6
                is_decoder = _A_DECODER in one.cmdline()
            except psutil.NoSuchProcess:  # a decoder that has just ended
                continue
            if is_decoder:
                decoders.append(private)
            else:
                megabytes[name] += private
    if decoders:
        megabytes[DECODER] = statistics.mean(decoders)
    return megabytes
