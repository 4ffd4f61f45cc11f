"""What a web process does beside answering: it loads index and encoder, and keeps them current."""

from __future__ import annotations

import logging
import threading
import time

from django.db import DatabaseError, InterfaceError, connection

from embeddings import live
from embeddings.encoders import heap, registry
from embeddings.errors import EmbeddingsError
from embeddings.models import Space
from gallery import spaces
from gallery.models import ImageEmbedding

log = logging.getLogger(__name__)

INDEX_SECONDS = 30.0
LOOK_SECONDS = 30.0  # before something is looked at again
TRIM_SECONDS = 60.0


def begin() -> None:
    """Start some threads. Call it in the process that serves, not in the one it is forked from."""
    heap.share()
    spaces.go_over_when(Loading().is_ready)
    for target in (_keep_index_current, _load_encoder, _prepare_beside, _give_memory_back):
        threading.Thread(target=target, name=target.__name__, daemon=True).start()


class Loading:
    """Loads what a space needs that was switched to, while searches stay in the one before.

    Without it the first search after a switch would wait for the encoder, for seconds; and where
    the encoder cannot be loaded, as on a machine that lacks its folder, none would be answered.
    """

    def __init__(self) -> None:
        self._loaded: dict[int, threading.Event] = {}  # by the space's primary key
        self._lock = threading.Lock()

    def is_ready(self, space: Space) -> bool:
        """Begin to load a space unless that was done; say whether searches may go over to it."""
        with self._lock:
            loaded = self._loaded.get(space.pk)
            if loaded is None:
                loaded = self._loaded[space.pk] = threading.Event()
                threading.Thread(
                    target=self._load, args=(space, loaded), name="loading", daemon=True
                ).start()
        return loaded.is_set()

    def _load(self, space: Space, loaded: threading.Event) -> None:
        """Load what searches need, again and again while the space is the active one."""
        while not loaded.is_set():
            try:
                if spaces.active() != space:
                    break
                registry.load(space).encode_texts(["a"])  # the first text opens what texts need
                _await_index(space)
                loaded.set()
            except (DatabaseError, InterfaceError, EmbeddingsError) as error:
                log.error("Searches of this process cannot go over to %s yet: %s", space, error)
            finally:
                connection.close()  # this thread waits, or ends
            loaded.wait(LOOK_SECONDS)
        if not loaded.is_set():
            with self._lock:
                del self._loaded[space.pk]  # whoever switches to it again begins anew


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
    try:
        registry.load(space).encode_texts(["a"])  # the first text opens what texts need
    except (DatabaseError, InterfaceError, EmbeddingsError) as error:
        log.error("%s", error)  # the search page says it too
    finally:
        connection.close()  # this thread ends here, and nobody else would
    heap.settle()


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


def _give_memory_back() -> None:
    """Give back what uploads and searches have freed, again and again: else it is kept for good."""
    while True:
        time.sleep(TRIM_SECONDS)
        heap.trim()


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
