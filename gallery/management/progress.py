"""Steps of long work on a terminal."""

from __future__ import annotations

from typing import Never

from django.core.management.base import OutputWrapper
from tqdm import tqdm


class Bars:
    """A bar a step, and sentences above it. Not on a terminal: the sentences alone."""

    def __init__(self, stderr: OutputWrapper) -> None:
        self._stderr = stderr
        self._bar: tqdm[Never] | None = None

    def begin(self, step: str, *, unit: str, total: int | None = None) -> None:
        self._bar = tqdm(desc=step, unit=unit, total=total, disable=None)

    def advance(self, n: int = 1) -> None:
        if self._bar is not None:
            self._bar.update(n)

    def end(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def tell(self, sentence: str) -> None:
        if self._bar is not None:
            self._bar.clear()
        self._stderr.write(sentence)
