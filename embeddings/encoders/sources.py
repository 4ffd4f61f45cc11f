"""Where encoders come from: the files that a name means, and what identifies them.

A name is `bundled`, the path of a folder in Hugging Face layout, or a model's id on the hub.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from embeddings.encoders import revisions
from embeddings.errors import EncoderUnavailable

log = logging.getLogger(__name__)

MAIN = "main"
BUNDLED = "bundled"
BUNDLED_FOLDER = Path(__file__).parent / "bundled"
DEFAULT_HUB_ID = "openai/clip-vit-base-patch32"
_HUB_ID = re.compile(r"([\w.-]{1,96}/)?[\w.-]{1,96}", re.ASCII)


@dataclass(frozen=True)
class Source:
    """The files of an encoder, and what identifies them."""

    name: str
    revision: str
    folder: Path


def find(name: str, *, revision: str = MAIN) -> Source:
    """Return the files that a name means, fetching them from the hub if need be.

    Raise EncoderUnavailable with a sentence when they cannot be had.
    """
    source = on_disk(name)
    if source is not None:
        return source
    from embeddings.encoders import hub  # a quarter of a second, for those that need it

    folder = hub.snapshot_of(name, revision)
    return Source(name, folder.name, folder)


def on_disk(name: str) -> Source | None:
    """Return the files that a name means, without fetching any; None for an id on the hub.

    Raise EncoderUnavailable for a folder that is not there, or cannot be read.
    """
    if name == BUNDLED:
        return Source(name, revisions.revision_of(BUNDLED_FOLDER, cache_dir()), BUNDLED_FOLDER)
    try:
        folder = Path(name).expanduser().resolve()
        if folder.is_dir():
            return Source(str(folder), revisions.revision_of(folder, cache_dir()), folder)
    except (OSError, ValueError) as error:
        raise EncoderUnavailable(f"The encoder folder {name!r} cannot be read: {error}") from error
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise EncoderUnavailable(f"There is no encoder folder {name}.")
    return None


def check(name: str) -> Source | None:
    """Return the same, and find at once what a slip of the pen would let fail after minutes.

    Raise EncoderUnavailable for a folder without the files of an encoder, and for no id.
    """
    source = on_disk(name)
    if source is None:
        if not _HUB_ID.fullmatch(name):
            raise EncoderUnavailable(
                f"{name[:100]!r} is neither a folder nor the id of a model on the hub."
            )
    elif not (source.folder / "config.json").is_file():
        raise EncoderUnavailable(
            f"The folder {source.folder} holds no encoder that can be used: it has no config.json."
        )
    elif not any(source.folder.glob("*.safetensors")):
        raise EncoderUnavailable(
            f"The folder {source.folder} holds no encoder that can be used: it has no "
            "safetensors, and other weights are not read."
        )
    return source


def choose() -> Source:
    """Return the encoder for a new gallery: ENCODER, else CLIP if it can be had, else bundled."""
    if settings.ENCODER:
        return find(settings.ENCODER, revision=settings.ENCODER_REVISION)
    from embeddings.encoders import hub

    if not hub.answers() and not hub.is_cached(DEFAULT_HUB_ID):
        log.info("The model hub does not answer; the bundled encoder serves.")
        return find(BUNDLED)
    try:
        return find(DEFAULT_HUB_ID, revision=settings.ENCODER_REVISION)
    except EncoderUnavailable as error:
        log.warning("%s The bundled encoder serves.", error)
        return find(BUNDLED)


def cache_dir() -> Path:
    """Return the folder in which processes keep what they have found out about encoders."""
    return Path(settings.ENCODER_CACHE_DIR or settings.INDEX_DIR)
