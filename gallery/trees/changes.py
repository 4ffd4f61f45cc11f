"""What changes below a folder, as the system tells it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Generator

import watchfiles
from watchfiles import Change

_WAIT_MILLISECONDS = 200
_GATHER_MILLISECONDS = 100
_MAX_PAUSES = 300  # a minute

log = logging.getLogger(__name__)


def changed_paths(root: str, stop: threading.Event) -> Generator[frozenset[str] | None, None, None]:
    """Yield the paths that have come or changed, a few times a second, until `stop` is set.

    None: the watch has just begun, and what came before was not told. Where the system cannot
    watch, empty sets.
    """
    failures = 0
    while not stop.is_set():
        try:
            for paths in _told(root, stop):
                failures = 0
                yield paths
        except (OSError, RuntimeError) as error:
            # It cannot watch so many folders, or a name was no UTF-8: that makes it stop, too
            # (WatchfilesRustInternalError, which it does not export).
            failures += 1
            log.warning("The watch of %s begins anew: %s", root, error)
        for _ in range(min(2**failures, _MAX_PAUSES)):
            if stop.wait(_WAIT_MILLISECONDS / 1000):
                return
            yield frozenset()


def _told(root: str, stop: threading.Event) -> Generator[frozenset[str] | None, None, None]:
    is_new = True
    for told in watchfiles.watch(
        root,
        watch_filter=None,
        stop_event=stop,
        debounce=_GATHER_MILLISECONDS,
        step=_GATHER_MILLISECONDS // 2,
        rust_timeout=_WAIT_MILLISECONDS,
        yield_on_timeout=True,
        raise_interrupt=False,
        ignore_permission_denied=True,
    ):
        if is_new:
            is_new = False
            yield None
        yield frozenset(path for change, path in told if change is not Change.deleted)
