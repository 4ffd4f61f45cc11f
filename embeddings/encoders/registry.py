"""One loaded copy of each encoder a process."""

from __future__ import annotations

import logging
import os
import threading
import time
from functools import lru_cache
from typing import TYPE_CHECKING

import psutil
from django.conf import settings

from embeddings.encoders import accelerators, folders, sources
from embeddings.encoders.cpu import CpuEncoder
from embeddings.encoders.exports import ExportFailed
from embeddings.encoders.sources import Source
from embeddings.errors import EncoderUnavailable

if TYPE_CHECKING:
    from embeddings.encoders.contract import Encoder
    from embeddings.models import Space

log = logging.getLogger(__name__)

# Reading a checkpoint to find that it does not serve takes seconds; not each search must wait.
RETRY_SECONDS = 5.0

_loading = threading.Lock()
_failures: dict[tuple[str, str], tuple[float, str]] = {}  # when (monotonic seconds), and why


def load(space: Space) -> Encoder:
    """Return the encoder of a space, loaded once a process.

    Raise EncoderUnavailable when its files are gone or are no longer those of the space.
    """
    key = (space.name, space.revision)
    with _loading:
        failed_at, sentence = _failures.get(key, (-RETRY_SECONDS, ""))
        if time.monotonic() - failed_at < RETRY_SECONDS:
            raise EncoderUnavailable(sentence)
        try:
            encoder = _load(*key)
        except EncoderUnavailable as error:
            _failures[key] = (time.monotonic(), str(error))
            raise
    if encoder.dimensions != space.dimensions:
        raise EncoderUnavailable(
            f"Encoder {space.name} gives {encoder.dimensions} dimensions; "
            f"its space has {space.dimensions}."
        )
    return encoder


def open_source(source: Source) -> Encoder:
    """Load an encoder from its files. Raise EncoderUnavailable when they are no encoder."""
    folders.check(*source.folders)  # at once, where the libraries that read it take seconds
    if _is_for_cpu():
        try:
            return CpuEncoder(
                source,
                sources.cache_dir(),
                precision=settings.ENCODER_PRECISION,
                threads=settings.ENCODER_THREADS or _cores(),
            )
        except ExportFailed as error:
            log.warning("%s", error)  # torch may run it, or tells better what is wrong with it
    # Seconds and 300 MB: a process that need not never imports torch.
    from embeddings.encoders.huggingface import TorchEncoder

    return TorchEncoder(
        source, device=settings.ENCODER_DEVICE, precision=settings.ENCODER_PRECISION
    )


def _is_for_cpu() -> bool:
    if settings.ENCODER_DEVICE != "auto":
        return bool(settings.ENCODER_DEVICE == "cpu")
    if not accelerators.are_there():
        return True
    from embeddings.encoders.huggingface import choose_device

    return choose_device("auto") == "cpu"  # torch may be built without it


def _cores() -> int:
    """Return the cores of this machine: matrix work gains nothing from a second thread on one."""
    return psutil.cpu_count(logical=False) or os.cpu_count() or 1


@lru_cache(maxsize=2)
def _load(name: str, revision: str) -> Encoder:
    source = sources.find(name, revision=revision)
    if source.revision != revision:
        raise EncoderUnavailable(
            f"The files of encoder {name} (revision {source.revision[:12]}) are no longer those "
            f"that the stored vectors were made with (revision {revision[:12]}): put the old "
            "files back, or embed all images anew with manage.py switch_encoder."
        )
    return open_source(source)
