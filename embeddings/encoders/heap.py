"""Memory that nobody uses, which the C library and Python keep for this process.

glibc keeps what was freed for the next time: of a text tower of ViT-B/32 in int8 34 MB after it was
opened, and 90 MB after it was let go of. And it keeps apart what threads take, in up to eight
arenas a core: each grows as far as its busiest moment went, so that a web process of four threads
holds 40 MB more in the evening of a busy day (bench/day.py) than it uses.
"""

from __future__ import annotations

import ctypes
import gc
import os

ARENAS = 2  # enough where one thread at a time runs Python
_M_ARENA_MAX = -8  # of malloc.h


def share() -> None:
    """Have all threads that begin from now on share few arenas, where the C library has any.

    Whoever sets MALLOC_ARENA_MAX has decided it already.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None and "MALLOC_ARENA_MAX" not in os.environ:
        set_option(_M_ARENA_MAX, ARENAS)


def settle() -> None:
    """Have Python's collector of cycles leave alone what is there now, and look at the rest often.

    For a process that has loaded all it serves with. Else it waits until a quarter of all objects
    are new, and then it looks at every one: tens of megabytes, and a tenth of a second for whoever
    asks just then.
    """
    gc.collect()
    gc.freeze()
    gc.collect()  # it counts anew how many there are


def trim() -> None:
    """Give back what was freed where the C library can be told to; it takes some milliseconds."""
    give_back = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if give_back is not None:
        give_back(0)
