"""What a web process does beside answering: it loads index and encoder, and keeps them current."""

from __future__ import annotations

import logging
import threading
import time
from typing import NamedTuple

from django.db import DatabaseError, InterfaceError, connection

from embeddings import live
from embeddings.encoders import registry
from embeddings.errors import EmbeddingsError
from embeddings.models import Space
from gallery import spaces
from gallery.models import ImageEmbedding

log = logging.getLogger(__name__)

# Searches stay in the space before a switch for so long at most, and no longer than it is kept.
LONGEST_LOADING = 300.0  # seconds
INDEX_SECONDS = 30.0
LOOK_SECONDS = 30.0


def begin() -> None:
    """Start some threads. Call it in the process that serves, not in the one it is forked from."""
    spaces.go_over_when(Loading().is_ready)
    for target in (_keep_index_current, _load_encoder, _prepare_beside):
        threading.Thread(target=target, name=target.__name__, daemon=True).start()


class _Begun(NamedTuple):
    at: float  # monotonic seconds
    done: threading.Event


class Loading:
    """Loads what a space needs that was switched to, while searches stay in the one before.

    Without it the first search after a switch would wait for the encoder, for seconds.
    """

    def __init__(self) -> None:
        self._begun: dict[int, _Begun] = {}  # by the space's primary key
        self._lock = threading.Lock()

    def is_ready(self, space: Space) -> bool:
        """Begin to load a space unless that was done; say whether searches may go over to it."""
        with self._lock:
            begun = self._begun.get(space.pk)
            if begun is None:
                begun = self._begun[space.pk] = _Begun(time.monotonic(), threading.Event())
                thread = threading.Thread(target=_load, args=(space, begun.done), daemon=True)
                thread.start()
        return begun.done.is_set() or time.monotonic() - begun.at > LONGEST_LOADING


def _load(space: Space, done: threading.Event) -> None:
    try:
        registry.load(space).encode_texts(["a"])  # the first text opens what texts need
        _await_index(space)
    except EmbeddingsError as error:
        log.error("%s", error)  # the search page says it too
    finally:
        done.set()


def _await_index(space: Space) -> None:
    """Have the thread that keeps indexes current load this one, and wait for it."""
    index = live.index_of(ImageEmbedding, space)
    until = time.monotonic() + INDEX_SECONDS
    while index.age_seconds is None and time.monotonic() < until:
        time.sleep(0.1)


def _keep_index_current() -> None:
    live.index_of(ImageEmbedding, _active_space())
    live.keep_current()


def _load_encoder() -> None:
    space = _active_space()
    connection.close()  # this thread ends here, and nobody else would
    try:
        registry.load(space).encode_texts(["a"])  # the first text opens what texts need
    except EmbeddingsError as error:
        log.error("%s", error)  # the search page says it too


def _prepare_beside() -> None:
    """Have the encoder of a second space at hand on this machine before a switch needs it."""
    prepared = 0
    while True:
        try:
            space = spaces.beside()
            if space is not None and space.is_prepared and space.pk != prepared:
                prepared = space.pk  # once, also where it fails: whoever switches is told
                connection.close()  # it may take minutes
                registry.prepare(space)
        except (DatabaseError, InterfaceError, EmbeddingsError) as error:
            log.warning("The encoder of the second space is not ready: %s", error)
        finally:
            connection.close()
        time.sleep(LOOK_SECONDS)


def _active_space() -> Space:
    """Return the space as soon as the database is there and has one."""
    while True:
        try:
            if (space := spaces.active()) is not None:
                return space
        except (DatabaseError, InterfaceError) as error:
            log.warning("The database is not ready: %s", error)
            connection.close()
        time.sleep(1)
