"""Exported encoders on this machine's disk: found, made once, proved before they are used.

A folder of them is named after the encoder's revision and the versions of what made and runs it. It
is never changed: another takes its place when one of these does. It appears whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

from embeddings.encoders import keeping, programs
from embeddings.encoders.framing import Framing
from embeddings.encoders.keeping import FolderBroken, Kept
from embeddings.encoders.layout import SAID_FILE
from embeddings.encoders.sources import Source
from embeddings.encoders.tokens import TextOptions
from embeddings.errors import EncoderUnavailable

log = logging.getLogger(__name__)

FORMAT = 1  # of what `export` writes: a higher one makes all of them anew
SECONDS = 1800  # for one export; a large encoder on a slow machine takes some minutes
FAILED_SECONDS = 3600  # before what could not be exported is tried again: each try takes a minute
_VERSIONS = ("torch", "transformers", "onnx", "onnxruntime", "openvino")


class ExportFailed(EncoderUnavailable):
    """The encoder's towers cannot be written as files: torch alone can run it."""


@dataclass(frozen=True)
class Export(Kept):
    """An encoder's towers as files."""

    dimensions: int
    parameters: int
    text_options: TextOptions
    framing: Framing

    @classmethod
    def read(cls, folder: Path) -> Export:
        kept = Kept.read(folder)
        try:
            said = json.loads(kept.content(SAID_FILE))
        except ValueError as error:
            raise FolderBroken(f"{folder} holds no export.") from error
        return cls(
            folder=folder,
            hashes=kept.hashes,
            dimensions=said["dimensions"],
            parameters=said["parameters"],
            text_options=TextOptions.from_json(said["text"]),
            framing=Framing.from_json(said["framing"]),
        )


def find(source: Source, cache: Path) -> Export:
    """Return the export of an encoder; the first time, make it, which takes a minute or less.

    Processes that ask at once wait for the one that makes it. Raise EncoderUnavailable for a folder
    that holds no encoder, ExportFailed for one that cannot be exported.
    """
    return _find(source, cache, broken=None)


def renew(source: Source, cache: Path, *, broken: Export) -> Export:
    """Make an export anew of which a file is broken, unless another process has done so."""
    return _find(source, cache, broken=broken)


def _find(source: Source, cache: Path, *, broken: Export | None) -> Export:
    folder = cache / _name(source)
    try:
        return keeping.find(folder, Export.read, partial(_write, source), broken=broken)
    except OSError as error:
        raise ExportFailed(
            f"The exported encoder cannot be kept in {cache}: {error.strerror or error}."
        ) from error
    except FolderBroken as error:
        raise ExportFailed(f"{error} It was made just now: look at the disk.") from error


def _write(source: Source, part: Path) -> None:
    failure = part.parent / f"{_name(source)}.failed"
    if why := _failed_lately(failure):
        raise ExportFailed(why)
    log.info("Exporting the encoder %s: once, in a minute or less.", source.name)
    started = time.monotonic()
    ended = programs.run("embeddings.encoders.export", part, *source.folders, seconds=SECONDS)
    if ended.code == programs.REFUSED:
        raise EncoderUnavailable(ended.why)
    if ended.why:
        why = f"The encoder {source.name} cannot be exported: {ended.why}."
        if ended.code == programs.FAILED:
            failure.write_text(why)
        raise ExportFailed(why)
    log.info("Exported it in %.0f seconds.", time.monotonic() - started)
    failure.unlink(missing_ok=True)


def _failed_lately(failure: Path) -> str:
    """Return why an export that was tried a while ago has failed; "" when none has."""
    with suppress(OSError):
        if time.time() - failure.stat().st_mtime < FAILED_SECONDS:
            return failure.read_text()
    return ""


def versions() -> str:
    """Return what makes and runs an export, each with its version."""
    return " ".join([str(FORMAT), *(f"{name}={version(name)}" for name in _VERSIONS)])


def _name(source: Source) -> str:
    made_with = hashlib.sha256(versions().encode()).hexdigest()[:12]
    title = re.sub(r"[^A-Za-z0-9.]+", "-", source.title)[:40].strip("-")
    return f"{title}-{source.files_id}-{made_with}"
