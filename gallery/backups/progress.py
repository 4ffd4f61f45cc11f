"""How long work tells how far it is, without knowing who shows it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Progress(Protocol):
    """Is told of steps, and of what a person should know."""

    def begin(self, step: str, *, unit: str, total: int | None = None) -> None: ...
    def advance(self, n: int = 1) -> None: ...
    def end(self) -> None: ...
    def tell(self, sentence: str) -> None: ...


class Silence:
    """Shows nothing and keeps what was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def begin(self, step: str, *, unit: str, total: int | None = None) -> None: ...
    def advance(self, n: int = 1) -> None: ...
    def end(self) -> None: ...

    def tell(self, sentence: str) -> None:
        self.told.append(sentence)


@contextmanager
def step(
    progress: Progress, name: str, *, unit: str, total: int | None = None
) -> Iterator[Progress]:
    """Tell of a step that is the block."""
    progress.begin(name, unit=unit, total=total)
    try:
        yield progress
    finally:
        progress.end()
