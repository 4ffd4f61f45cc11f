"""Work that gives way: searches go on beside a build or a comparison."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

_NICENESS = 10


def run(work: Callable[[], T]) -> T:
    """Do work in a thread that gives way to others, and return what it returns.

    On Linux a thread has a niceness of its own, and what it starts has it too.
    """
    with ThreadPoolExecutor(1, initializer=_step_back) as thread:
        return thread.submit(work).result()


def _step_back() -> None:
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, 0, _NICENESS)
