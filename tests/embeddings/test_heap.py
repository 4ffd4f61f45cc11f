from __future__ import annotations

import ctypes
import gc
import os
import subprocess
import sys

import pytest

from embeddings.encoders import heap
from tests.workers import ROOT

# Eight threads that are there at once take memory; the C library tells of its arenas.
PROGRAM = """
import ctypes, sys, threading
from embeddings.encoders import heap
if "share" in sys.argv:
    heap.share()
everyone = threading.Barrier(8)
def take():
    bytearray(100_000)
    everyone.wait()
threads = [threading.Thread(target=take) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
libc = ctypes.CDLL(None)
libc.fdopen.restype = ctypes.c_void_p
out = ctypes.c_void_p(libc.fdopen(1, b"w"))
libc.malloc_info(0, out)
libc.fflush(out)
"""

needs_glibc = pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "malloc_info"), reason="Another C library counts no arenas."
)


def arenas(*arguments: str, **variables: str) -> int:
    environ = {name: value for name, value in os.environ.items() if name != "MALLOC_ARENA_MAX"}
    told = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], cwd=ROOT, env=environ | variables,
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return told.stdout.count("<heap nr=")


@needs_glibc
def test_threads_share_few_arenas():
    assert arenas() > 2
    assert arenas("share") == 2


@needs_glibc
def test_whoever_runs_it_may_decide_otherwise():
    assert arenas("share", MALLOC_ARENA_MAX="5") == 5


class Cycle:
    def __init__(self) -> None:
        self.itself = self


def test_cycles_of_later_are_found_early_in_a_process_that_has_settled():
    ballast = [[n] for n in range(500_000)]
    gc.collect()
    frozen = gc.get_freeze_count()  # the tests themselves
    collections = gc.get_stats()[2]["collections"]
    try:
        heap.settle()
        assert gc.get_freeze_count() - frozen > len(ballast)
        for _ in range(100_000):  # fewer than a quarter of what is there
            Cycle()
        assert gc.get_stats()[2]["collections"] - collections > 2  # both of its own, and others
    finally:
        del ballast
        gc.unfreeze()
        gc.collect()
        gc.freeze()
