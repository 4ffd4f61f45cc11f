"""The model hub and its cache on this machine's disk: the only place that asks a network."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError: of the library below
    HFValidationError,
    HTTPError,
)

from embeddings.encoders import folders
from embeddings.errors import EncoderUnavailable

MAIN = "main"
ANSWERS_WITHIN_SECONDS = 4
CONVERSION_BOT, CONVERSION_TITLE = "SFconvertbot", "Adding `safetensors` variant of this model"
# Nothing that could be code is ever fetched: no pickles, no Python.
FILES = ("*.json", "*.txt", "*.model", "model*.safetensors", "[0-9]_*/model*.safetensors")
# RuntimeError: of its own protocol for large files.
_ERRORS = (HFValidationError, HTTPError, OSError, RuntimeError)


def snapshot_of(name: str, revision: str) -> Path:
    """Return the folder of a model's files, named after their commit; fetch them if need be.

    Raise EncoderUnavailable.
    """
    try:
        folder = _download(name, revision)
        if _is_of_open_clip(folder):
            return _download(name, revision, [*FILES, folders.OPEN_CLIP_WEIGHTS])
        if revision == MAIN and not _has_weights(folder):
            folder = _cached_conversion(folder) or _download(name, _conversion_of(name))
    except _ERRORS as error:
        raise EncoderUnavailable(
            f"Encoder {name} is neither a folder nor can it be had from the model hub "
            f"({type(error).__name__})."
        ) from error
    return folder


def _is_of_open_clip(folder: Path) -> bool:
    """Whether other weights are wanted, which most folders that hold both need not fetch."""
    with suppress(ValueError):  # it is told when the encoder is opened
        return folders.is_of_open_clip(folder)
    return False


def _has_weights(folder: Path) -> bool:
    with suppress(ValueError):
        folder = folders.root_of(folder)
    return any(folder.glob("*.safetensors"))


def _download(name: str, revision: str, files: Sequence[str] = FILES) -> Path:
    return Path(
        snapshot_download(
            name,
            revision=revision,
            allow_patterns=list(files),
            etag_timeout=ANSWERS_WITHIN_SECONDS,
            local_files_only=not answers(),
        )
    )


def _conversion_of(name: str) -> str:
    """Return the revision with safetensors, which the hub's bot offers for models that lack them.

    Raise EncoderUnavailable if there is none: other formats can hold code.
    """
    if answers():
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


def is_cached(name: str) -> bool:
    """Whether files of the model were fetched before."""
    return (Path(constants.HF_HUB_CACHE) / f"models--{name.replace('/', '--')}").is_dir()


def answers() -> bool:
    """Whether the hub can be asked now."""
    return not constants.HF_HUB_OFFLINE and _answered_in_minute(int(time.monotonic() // 60))


@lru_cache(maxsize=1)
def _answered_in_minute(_minute: int) -> bool:
    """Whether the hub answered; asked anew each minute, for a network may come back."""
    try:
        with urllib.request.urlopen(constants.ENDPOINT, timeout=ANSWERS_WITHIN_SECONDS):
            return True
    except (OSError, ValueError):
        return False
