"""What identifies the files of a folder: a hash of all that decides about the vectors.

Hashing a checkpoint takes up to a second, which each process would spend at its start: what was
hashed is remembered, for as long as no file was touched.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path

_SUFFIXES = {".json", ".safetensors", ".txt", ".model"}  # weights, configuration, tokenizer


def revision_of(folder: Path, memory: Path) -> str:
    """Return the revision of an encoder's folder; `memory` is a folder to remember it in.

    Raise OSError when the files cannot be read.
    """
    files = sorted(file for file in folder.iterdir() if file.suffix in _SUFFIXES and file.is_file())
    path_hash = hashlib.sha256(str(folder).encode()).hexdigest()[:24]
    remembered = memory / f"revision-{path_hash}.json"
    stamps = [_stamp(file) for file in files]
    with suppress(OSError, ValueError, KeyError, TypeError):
        said = json.loads(remembered.read_text())
        if said["stamps"] == stamps:
            return str(said["revision"])
    revision = _hashed(files)
    if stamps == [_stamp(file) for file in files]:  # nobody wrote to them meanwhile
        with suppress(OSError):  # then the next process hashes them again
            memory.mkdir(parents=True, exist_ok=True)
            part = remembered.with_suffix(f".{path_hash}.part")
            part.write_text(json.dumps({"stamps": stamps, "revision": revision}))
            part.replace(remembered)
    return revision


def _stamp(file: Path) -> list[str | int]:
    found = file.stat()
    # The time of change cannot be set by anybody, as that of modification can.
    return [file.name, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


def _hashed(files: list[Path]) -> str:
    whole = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
            whole.update(f"{file.name}:{sha256}".encode())
    return whole.hexdigest()[:40]
