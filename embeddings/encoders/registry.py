"""One loaded copy of each encoder a process."""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import TYPE_CHECKING

from django.conf import settings

from embeddings.encoders import sources
from embeddings.encoders.sources import Source
from embeddings.errors import EncoderUnavailable

if TYPE_CHECKING:
    from embeddings.encoders.contract import Encoder
    from embeddings.models import Space

_loading = threading.Lock()


def load(space: Space) -> Encoder:
    """Return the encoder of a space, loaded once a process.

    Raise EncoderUnavailable when its files are gone or are no longer those of the space.
    """
    with _loading:
        encoder = _load(space.name, space.revision)
    if encoder.dimensions != space.dimensions:
        raise EncoderUnavailable(
            f"Encoder {space.name} gives {encoder.dimensions} dimensions; "
            f"its space has {space.dimensions}."
        )
    return encoder


def open_source(source: Source) -> Encoder:
    """Load an encoder from its files. Raise EncoderUnavailable when they are no encoder."""
    # Seconds and 300 MB: a process that never encodes never imports torch.
    from embeddings.encoders.huggingface import TorchEncoder

    return TorchEncoder(
        source, device=settings.ENCODER_DEVICE, precision=settings.ENCODER_PRECISION
    )


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
