"""The encoders of spaces: one loaded copy of each a process, and of few."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable
from typing import TYPE_CHECKING

from django.db import DatabaseError, InterfaceError

from embeddings import proofs
from embeddings.encoders import heap, opening, sources
from embeddings.encoders.cpu import CpuEncoder
from embeddings.encoders.exports import ExportFailed
from embeddings.encoders.precisions import Precisions
from embeddings.encoders.sources import Source
from embeddings.errors import EncoderUnavailable, NotTuned

if TYPE_CHECKING:
    from embeddings.encoders.contract import Encoder
    from embeddings.models import Space

log = logging.getLogger(__name__)

# Reading a checkpoint to find that it does not serve takes seconds; not each search must wait.
RETRY_SECONDS = 5.0
# The active space's, that of the space beside it, and of one that was retired a moment ago, in
# which searches come to their end: with one fewer, they would push each other out.
MOST = 3
LOOK_SECONDS = 5.0  # between two looks at the proofs
CHANGE_SECONDS = 300.0  # before what could not be changed is tried again

Key = tuple[str, str]  # name and revision

_tables = threading.Lock()  # guards what follows, and is never held while anything is loaded
_loaded: OrderedDict[Key, Encoder] = OrderedDict()  # used last comes last
_locks: dict[Key, threading.Lock] = {}
_failures: dict[Key, tuple[float, str]] = {}  # when (monotonic seconds), and why
_changing: dict[Key, float] = {}  # when (monotonic seconds) a change was begun that has not ended

_looking = threading.Lock()
_looked_at = -math.inf  # monotonic seconds


def load(space: Space) -> Encoder:
    """Return the encoder of a space, loaded once a process.

    Raise EncoderUnavailable when its files are gone or are no longer those of the space.
    """
    key = (space.name, space.revision)
    encoder = _known(key)
    if encoder is None:
        with _tables:
            lock = _locks.setdefault(key, threading.Lock())
        # One lock an encoder: a search in the space in use waits for no other to be loaded.
        with lock:
            encoder = _known(key) or _load(key)
    _check_width(encoder, space)
    return encoder


def prepare(space: Space) -> None:
    """Do what takes long, and once a machine, before an encoder can be loaded: fetch and export it.

    Takes no memory. Raise EncoderUnavailable.
    """
    opening.prepare(_source_of((space.name, space.revision)))


def keep_only(spaces: Iterable[Space]) -> None:
    """Let go of the encoders of other spaces, and of what was wrong with them.

    Without spaces: of all, so that the next use of each reads its files again.
    """
    kept = {(space.name, space.revision) for space in spaces}
    with _tables:
        gone = [_loaded.pop(key) for key in _loaded.keys() - kept]
        for key in _failures.keys() - kept:
            del _failures[key]
        for key in _changing.keys() - kept:
            del _changing[key]
    if gone:
        gone.clear()
        heap.trim()


def refresh() -> None:
    """Look whether the proofs say of a loaded encoder that it may serve in another precision.

    It goes over to that in a thread of its own, while searches and batches go on. Cheap: one look
    in LOOK_SECONDS, whoever calls.
    """
    global _looked_at
    now = time.monotonic()
    if now - _looked_at < LOOK_SECONDS or not _looking.acquire(blocking=False):
        return
    try:
        _looked_at = now
        with _tables:
            loaded = list(_loaded.items())
        for key, encoder in loaded:
            began = _changing.get(key, -math.inf)
            if isinstance(encoder, CpuEncoder) and now - began > CHANGE_SECONDS:
                _look(key, encoder)
    except (DatabaseError, InterfaceError) as error:
        log.warning("Proofs of encoders could not be looked up: %s", error)
    finally:
        _looking.release()


def reference(space: Space) -> CpuEncoder:
    """Return the encoder of a space in float32, for nobody else's use.

    It is none of those that are loaded for searches: it takes no place of one, and is not let go
    of with them. Raise EncoderUnavailable, NotTuned where torch runs it.
    """
    source = _source_of((space.name, space.revision))
    by_torch = f"The encoder {space.title} is run by torch here, in one precision."
    if not opening.is_for_cpu():
        raise NotTuned(by_torch)
    try:
        encoder = opening.open_exported(source, Precisions())
    except ExportFailed as error:
        raise NotTuned(f"{by_torch} {error}") from error
    _check_width(encoder, space)
    return encoder


def _check_width(encoder: Encoder, space: Space) -> None:
    if encoder.dimensions != space.dimensions:
        raise EncoderUnavailable(
            f"Encoder {space.name} gives {encoder.dimensions} dimensions; "
            f"its space has {space.dimensions}."
        )


def _known(key: Key) -> Encoder | None:
    with _tables:
        if key in _loaded:
            _loaded.move_to_end(key)
        return _loaded.get(key)


def _load(key: Key) -> Encoder:
    failed_at, sentence = _failures.get(key, (-RETRY_SECONDS, ""))
    if time.monotonic() - failed_at < RETRY_SECONDS:
        raise EncoderUnavailable(sentence)
    try:
        encoder = opening.open_source(_source_of(key), proofs.choose(*key))
    except EncoderUnavailable as error:
        with _tables:
            _failures[key] = (time.monotonic(), str(error))
        raise
    for sentence in proofs.unproven(*key):
        log.warning("%s", sentence)
    with _tables:
        _loaded[key] = encoder
        while len(_loaded) > MOST:
            _loaded.popitem(last=False)
    return encoder


def _look(key: Key, encoder: CpuEncoder) -> None:
    wanted = proofs.choose(*key, known=encoder.precisions)
    if wanted != encoder.precisions:
        _changing[key] = time.monotonic()
        threading.Thread(target=_change, args=(key, encoder, wanted), daemon=True).start()


def _source_of(key: Key) -> Source:
    name, revision = key
    source = sources.find(name, revision=revision)
    if source.revision != revision:
        raise EncoderUnavailable(
            f"The files of encoder {name} (revision {source.revision[:12]}) are no longer those "
            f"that the stored vectors were made with (revision {revision[:12]}): put the old "
            "files back, or embed all images anew with manage.py switch_encoder."
        )
    return source


def _change(key: Key, encoder: CpuEncoder, wanted: Precisions) -> None:
    try:
        encoder.change(wanted)
    except EncoderUnavailable as error:
        log.warning("The encoder %s stays as it is for now: %s", encoder.name, error)
    else:
        log.info(
            "The encoder %s encodes texts in %s and images in %s.",
            encoder.name, wanted.text, wanted.image,
        )  # fmt: skip
        _changing.pop(key, None)
