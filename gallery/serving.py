"""What a web process does beside answering: it loads index and encoder, and keeps them current."""

from __future__ import annotations

import logging
import threading
import time

from django.db import DatabaseError, InterfaceError, connection

from embeddings import live
from embeddings.encoders import registry
from embeddings.errors import EmbeddingsError
from embeddings.models import Space
from gallery import spaces
from gallery.models import ImageEmbedding

log = logging.getLogger(__name__)


def begin() -> None:
    """Start two threads. Call it in the process that serves, not in the one it is forked from."""
    for target in (_keep_index_current, _load_encoder):
        threading.Thread(target=target, name=target.__name__, daemon=True).start()


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
