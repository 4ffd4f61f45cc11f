"""Whether there is a device that torch runs encoders on, asked without importing torch."""

from __future__ import annotations

import ctypes
import platform
import sys
from functools import lru_cache


@lru_cache(maxsize=1)
def are_there() -> bool:
    """Whether the machine has a GPU that torch may know."""
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    n = ctypes.c_int()
    return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(n)) == 0 and n.value > 0
