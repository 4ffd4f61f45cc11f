"""From the files of an encoder to what encodes: by the runtimes of the CPU, or by torch.

It asks no database: which space an encoder serves, and how exactly, says `registry`.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from typing import TYPE_CHECKING

import psutil
from django.conf import settings

from embeddings.encoders import accelerators, exports, folders, precisions, sources
from embeddings.encoders.cpu import CpuEncoder
from embeddings.encoders.exports import ExportFailed
from embeddings.encoders.precisions import Precisions
from embeddings.encoders.sources import Source

if TYPE_CHECKING:
    from embeddings.encoders.contract import Encoder

log = logging.getLogger(__name__)


def open_source(source: Source, wanted: Precisions | None = None) -> Encoder:
    """Load an encoder from its files, by default as ENCODER_PRECISION says without any proof.

    Raise EncoderUnavailable when they are no encoder.
    """
    folders.check(*source.folders)  # at once, where the libraries that read it take seconds
    if is_for_cpu():
        try:
            return open_exported(source, wanted or precisions.named(settings.ENCODER_PRECISION))
        except ExportFailed as error:
            log.warning("%s", error)  # torch may run it, or tells better what is wrong with it
    # Seconds and 300 MB: a process that need not never imports torch.
    from embeddings.encoders.huggingface import TorchEncoder

    return TorchEncoder(
        source, device=settings.ENCODER_DEVICE, precision=settings.ENCODER_PRECISION
    )


def open_exported(source: Source, wanted: Precisions) -> CpuEncoder:
    """Load an encoder for the runtimes of the CPU. Raise EncoderUnavailable, ExportFailed."""
    return CpuEncoder(
        source,
        sources.cache_dir(),
        precisions=wanted,
        threads=settings.ENCODER_THREADS or _cores(),
    )


def prepare(source: Source) -> None:
    """Do what takes long, once a machine: export an encoder. Raise EncoderUnavailable."""
    folders.check(*source.folders)
    if is_for_cpu():
        with suppress(ExportFailed):  # then torch runs it
            exports.find(source, sources.cache_dir())


def is_for_cpu() -> bool:
    """Whether the runtimes of the CPU are to run encoders here."""
    if settings.ENCODER_DEVICE != "auto":
        return bool(settings.ENCODER_DEVICE == "cpu")
    if not accelerators.are_there():
        return True
    from embeddings.encoders.huggingface import choose_device

    return choose_device("auto") == "cpu"  # torch may be built without it


def _cores() -> int:
    """Return the cores of this machine: matrix work gains nothing from a second thread on one."""
    return psutil.cpu_count(logical=False) or os.cpu_count() or 1
