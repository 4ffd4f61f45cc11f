"""What a web process does beside answering: it loads index and encoder, and keeps them current."""

from __future__ import annotations

import logging
import threading
import time

from django.db import connection
from django.db.utils import InterfaceError, OperationalError, ProgrammingError

from embeddings import live
from embeddings.encoders import registry
from embeddings.errors import EmbeddingsError
from gallery import spaces
from gallery.models import ImageEmbedding

log = logging.getLogger(__name__)


def begin() -> None:
    """Start the thread. Call it in the process that serves, not in the one it is forked from."""
    threading.Thread(target=_run, name="live index", daemon=True).start()


def _run() -> None:
    while not _is_warm():
        time.sleep(1)
    live.keep_current()


def _is_warm() -> bool:
    """Load what the first search would have to wait for; False when it is not there yet."""
    try:
        space = spaces.active()
        if space is None:
            return False
        live.index_of(ImageEmbedding, space).refresh()
        registry.load(space)
    except (OperationalError, InterfaceError, ProgrammingError) as error:
        log.warning("The database is not ready: %s", error)
        connection.close()
        return False
    except EmbeddingsError as error:
        log.error("%s", error)  # the search page says it too
    return True
