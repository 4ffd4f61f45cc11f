"""Other machines of the tests: a process of its own, a disk that is full."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager

from tests.gallery import commands


def run(*arguments: object, status: int = 0, program: str = "", **variables: str) -> str:
    """Run a command to its end; return what it told."""
    process = commands.start(*arguments, program=program, **variables)
    out, err = process.communicate(timeout=400)
    assert process.returncode == status, err[-3000:]
    return out + err


@contextmanager
def no_more_than(n: int) -> Iterator[None]:
    """Files may not grow beyond n bytes: what a full disk looks like."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
