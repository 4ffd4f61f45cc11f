"""What a process may have that reads files nobody has vouched for: no secret, little memory.

Imports nothing but the standard library, so that such a process starts quickly.
"""

from __future__ import annotations

import os
import resource
import sys

_KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
_OPEN_FILES = 64


def environment() -> dict[str, str]:
    """Return what the process may know: neither the database's password nor the secret key."""
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    python = {name: value for name, value in os.environ.items() if name.startswith("PYTHON")}
    return kept | python | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def confine(memory_bytes: int) -> None:
    """Give up, for good, what this process does not need. `memory_bytes` are of address space."""
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_NOFILE, _OPEN_FILES)
    if sys.platform == "linux":  # elsewhere this limit is not kept, or counts other things
        _lower(resource.RLIMIT_AS, memory_bytes)


def _lower(limit: int, most: int) -> None:
    _, hard = resource.getrlimit(limit)
    if hard == resource.RLIM_INFINITY or most < hard:
        resource.setrlimit(limit, (most, most))
