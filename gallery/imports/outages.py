"""A source or a storage that is away for a time: an import waits for it, and goes on by itself."""

from __future__ import annotations

import time

from gallery.errors import StorageAway
from gallery.importers import SourceAway

# From the first failure on. A worker begins anew with every turn, so it waits for as long as it
# takes; a command that nobody looks at must come to its end, unless it has none.
SECONDS = 3600.0
LONGEST_PAUSE_SECONDS = 30.0


class Outage:
    """When what is away is asked again: after a second, two, four, and so on."""

    def __init__(self, *, is_endless: bool = False) -> None:
        self._is_endless = is_endless
        self._since = self._ask_at = self._pause = 0.0

    @property
    def is_on(self) -> bool:
        """Whether nothing is to be asked yet."""
        return time.monotonic() < self._ask_at

    @property
    def has_begun(self) -> bool:
        """Whether the last that was heard of it is that it is away."""
        return self._since > 0

    def begin(self, error: SourceAway | StorageAway) -> None:
        """Wait from now on, longer than the last time. Raise the error when it has been too long.

        Those that were asked together fail together, and count once.
        """
        now = time.monotonic()
        self._since = self._since or now
        if now - self._since > SECONDS and not self._is_endless:
            raise error
        if not self.is_on:
            self._pause = min(max(2 * self._pause, 1.0), LONGEST_PAUSE_SECONDS)
            self._ask_at = now + self._pause

    def end(self) -> None:
        """It answers."""
        self._since = self._ask_at = self._pause = 0.0
