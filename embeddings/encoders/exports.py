"""Exported encoders on this machine's disk: found, made once, proved before they are used.

A folder of them is named after the encoder's revision and the versions of what made and runs it. It
is never changed: another takes its place when one of these does. It appears whole or not at all.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from embeddings.encoders.framing import Framing
from embeddings.encoders.layout import SAID_FILE, TOKENIZER_FILE
from embeddings.encoders.sources import Source
from embeddings.encoders.tokens import TextOptions
from embeddings.errors import EncoderUnavailable

log = logging.getLogger(__name__)

FORMAT = 1  # of what `export` writes: a higher one makes all of them anew
SECONDS = 1800  # for one export; a large encoder on a slow machine takes some minutes
OLD_SECONDS = 7 * 24 * 3600  # what made way for a newer version goes after that
_HASHES_FILE = "sha256.json"
_VERSIONS = ("torch", "transformers", "onnx", "onnxruntime", "openvino")


class ExportFailed(EncoderUnavailable):
    """The encoder's towers cannot be written as files: torch alone can run it."""


class ExportBroken(Exception):
    """A file of an export is missing, or is not what was written."""


@dataclass(frozen=True)
class Export:
    """An encoder's towers as files."""

    folder: Path
    hashes: dict[str, str]  # sha256 of each file, by its name
    dimensions: int
    parameters: int
    text_options: TextOptions
    framing: Framing

    def file(self, name: str) -> Path:
        """Return a file of it that was proved just now. Raise ExportBroken."""
        _prove(self.folder, name, self.hashes)
        return self.folder / name


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
        if broken is None:
            with suppress(ExportBroken):
                return _read(folder)
        cache.mkdir(parents=True, exist_ok=True)
        with _alone(folder):
            try:
                found = _read(folder)
            except ExportBroken as error:
                if folder.exists():
                    log.warning("%s It is made anew.", error)
            else:
                if broken is None or found.hashes != broken.hashes or _is_whole(found):
                    return found
                log.warning("The exported encoder %s is damaged. It is made anew.", folder.name)
            _make(source, folder)
        return _read(folder)
    except OSError as error:
        raise ExportFailed(
            f"The exported encoder cannot be kept in {cache}: {error.strerror or error}."
        ) from error
    except ExportBroken as error:
        raise ExportFailed(f"{error} It was made just now: look at the disk.") from error


def _read(folder: Path) -> Export:
    try:
        hashes = json.loads((folder / _HASHES_FILE).read_text())
        _prove(folder, SAID_FILE, hashes)
        said = json.loads((folder / SAID_FILE).read_text())
    except (OSError, ValueError) as error:
        raise ExportBroken(f"{folder} holds no export.") from error
    return Export(
        folder=folder,
        hashes=hashes,
        dimensions=said["dimensions"],
        parameters=said["parameters"],
        text_options=TextOptions.from_json(said["text"]),
        framing=Framing.from_json(said["framing"]),
    )


def _is_whole(export: Export) -> bool:
    try:
        for name in export.hashes:
            export.file(name)
    except ExportBroken:
        return False
    return True


def _prove(folder: Path, name: str, hashes: dict[str, str]) -> None:
    """Raise ExportBroken unless the file, and the weights beside it, are what was written."""
    if name not in hashes:
        raise ExportBroken(f"{folder / name} is not part of the export.")
    for one in (name, f"{name}.data"):
        if one in hashes and _sha256(folder / one) != hashes[one]:
            raise ExportBroken(f"{folder / one} is damaged.")


def _make(source: Source, folder: Path) -> None:
    log.info("Exporting the encoder %s: once, in a minute or less.", source.name)
    started = time.monotonic()
    for left in folder.parent.glob(f"{folder.name}.*.part"):  # of a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    # A name of its own: what that process had begun may still be writing.
    part = folder.with_name(f"{folder.name}.{uuid.uuid4().hex}.part")
    part.mkdir()
    try:
        _run(source, part)
        hashes = {file.name: _sha256(file) for file in sorted(part.iterdir())}
        (part / _HASHES_FILE).write_text(json.dumps(hashes, indent=1))
        for file in part.iterdir():
            _sync(file)
        shutil.rmtree(folder, ignore_errors=True)  # a broken one
        part.rename(folder)
        _sync(folder.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    log.info("Exported it in %.0f seconds.", time.monotonic() - started)
    _remove_old(folder)


def _run(source: Source, output: Path) -> None:
    program = (sys.executable, "-m", "embeddings.encoders.export")
    command = (*program, str(output), *map(str, source.folders))
    try:
        done = subprocess.run(
            command,
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ExportFailed(
            f"Exporting the encoder {source.name} took longer than {SECONDS // 60} minutes."
        ) from error
    if done.returncode == 0:
        return
    lines = done.stderr.strip().splitlines() or [f"its process ended with {done.returncode}"]
    why = re.sub(r"^[\w.]+: ", "", lines[-1])  # the exception's own name
    if done.returncode > 0 and not (output / TOKENIZER_FILE).exists():
        raise EncoderUnavailable(
            f"The folder {source.folder} holds no encoder that can be used: {why}"
        )
    raise ExportFailed(f"The encoder {source.name} cannot be exported: {why}")


def _remove_old(folder: Path) -> None:
    """Remove exports of the same encoder that other versions have made, once nobody uses them."""
    stem = folder.name.rpartition("-")[0]
    for other in folder.parent.glob(f"{stem}-*"):
        if other != folder and other.is_dir() and time.time() - other.stat().st_mtime > OLD_SECONDS:
            shutil.rmtree(other, ignore_errors=True)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the lock of one export. It dies with the process."""
    descriptor = os.open(folder.with_name(folder.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _name(source: Source) -> str:
    versions = " ".join(f"{name}={version(name)}" for name in _VERSIONS)
    made_with = hashlib.sha256(f"{FORMAT} {versions}".encode()).hexdigest()[:12]
    title = re.sub(r"[^A-Za-z0-9.]+", "-", source.title)[:40].strip("-")
    return f"{title}-{source.files_id}-{made_with}"


def _sha256(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise ExportBroken(f"{file} cannot be read: {error.strerror}.") from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
