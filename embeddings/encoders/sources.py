"""Where encoders come from: the files that a name means, and what identifies them.

A name is `bundled`, the path of a folder in Hugging Face layout, or a model's id on the hub.
"""

from __future__ import annotations

import hashlib
import logging
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from django.conf import settings
from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)

from embeddings.errors import EncoderUnavailable

log = logging.getLogger(__name__)

MAIN = "main"
BUNDLED = "bundled"
BUNDLED_FOLDER = Path(__file__).parent / "bundled"
DEFAULT_HUB_ID = "openai/clip-vit-base-patch32"
HUB_ANSWERS_WITHIN_SECONDS = 4
# Nothing that could be code is ever fetched: no pickles, no Python.
_HUB_ERRORS = (
    HFValidationError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OSError,
    RepositoryNotFoundError,
)
CONVERSION_BOT, CONVERSION_TITLE = "SFconvertbot", "Adding `safetensors` variant of this model"
HUB_FILES = ["*.json", "*.txt", "*.model", "model*.safetensors"]


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
    if name == BUNDLED:
        return Source(name, _revision_of(BUNDLED_FOLDER), BUNDLED_FOLDER)
    try:
        folder = Path(name).expanduser().resolve()
        if folder.is_dir():
            return Source(str(folder), _revision_of(folder), folder)
    except (OSError, ValueError) as error:
        raise EncoderUnavailable(f"The encoder folder {name!r} cannot be read: {error}") from error
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise EncoderUnavailable(f"There is no encoder folder {name}.")
    return _from_hub(name, revision)


def choose() -> Source:
    """Return the encoder for a new gallery: ENCODER, else CLIP if it can be had, else bundled."""
    if settings.ENCODER:
        return find(settings.ENCODER, revision=settings.ENCODER_REVISION)
    if not _hub_answers() and not _is_cached(DEFAULT_HUB_ID):
        log.info("The model hub does not answer; the bundled encoder serves.")
        return find(BUNDLED)
    try:
        return find(DEFAULT_HUB_ID, revision=settings.ENCODER_REVISION)
    except EncoderUnavailable as error:
        log.warning("%s The bundled encoder serves.", error)
        return find(BUNDLED)


def _from_hub(name: str, revision: str) -> Source:
    try:
        folder = _download(name, revision)
        if revision == MAIN and not any(folder.glob("*.safetensors")):
            folder = _cached_conversion(folder) or _download(name, _conversion_of(name))
    except _HUB_ERRORS as error:
        raise EncoderUnavailable(
            f"Encoder {name} is neither a folder nor can it be had from the model hub "
            f"({type(error).__name__})."
        ) from error
    # The folder of a hub snapshot is named after its commit.
    return Source(name, folder.name, folder)


def _download(name: str, revision: str) -> Path:
    return Path(
        snapshot_download(
            name,
            revision=revision,
            allow_patterns=HUB_FILES,
            etag_timeout=HUB_ANSWERS_WITHIN_SECONDS,
            local_files_only=not _hub_answers(),
        )
    )


def _conversion_of(name: str) -> str:
    """Return the revision with safetensors, which the hub's bot offers for models that lack them.

    Raise EncoderUnavailable if there is none: other formats can hold code.
    """
    if _hub_answers():
        for offer in HfApi().get_repo_discussions(
            name, author=CONVERSION_BOT, discussion_type="pull_request"
        ):
            if offer.title == CONVERSION_TITLE and offer.git_reference:
                return offer.git_reference
    raise EncoderUnavailable(f"Encoder {name} has no safetensors, and other weights are not read.")


def _cached_conversion(folder: Path) -> Path | None:
    """Return another cached snapshot of the same model that has safetensors."""
    weights = sorted(folder.parent.glob("*/*.safetensors"))
    return weights[0].parent if weights else None


def _is_cached(name: str) -> bool:
    return (Path(constants.HF_HUB_CACHE) / f"models--{name.replace('/', '--')}").is_dir()


def _hub_answers() -> bool:
    return not constants.HF_HUB_OFFLINE and _answered_in_minute(int(time.monotonic() // 60))


@lru_cache(maxsize=1)
def _answered_in_minute(_minute: int) -> bool:
    """Whether the hub answered; asked anew each minute, for a network may come back."""
    try:
        with urllib.request.urlopen(constants.ENDPOINT, timeout=HUB_ANSWERS_WITHIN_SECONDS):
            return True
    except (OSError, ValueError):
        return False


def _revision_of(folder: Path) -> str:
    """Return a hash of all that decides about the vectors: weights, configuration, tokenizer."""
    files = sorted(
        file
        for file in folder.iterdir()
        if file.suffix in {".json", ".safetensors", ".txt", ".model"} and file.is_file()
    )
    whole = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            whole.update(
                f"{file.name}:{hashlib.file_digest(opened, 'sha256').hexdigest()}".encode()
            )
    return whole.hexdigest()[:40]
