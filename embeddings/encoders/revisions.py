"""What identifies the files of a folder: a hash of all that decides about the vectors.

Hashing a checkpoint takes up to a second, which each process would spend at its start: what was
hashed is remembered, for as long as no file was touched.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path

from embeddings.encoders import folders

_SUFFIXES = {".json", ".safetensors", ".txt", ".model"}  # weights, configuration, tokenizer


def revision_of(folder: Path, memory: Path) -> str:
    """Return the revision of an encoder's folder; `memory` is a folder to remember it in.

    Raise OSError when the files cannot be read.
    """
    files = sorted(file for part in _parts(folder) for file in part.iterdir() if _decides(file))
    path_hash = hashlib.sha256(str(folder).encode()).hexdigest()[:24]
    remembered = memory / f"revision-{path_hash}.json"
    stamps = [_stamp(file, folder) for file in files]
    with suppress(OSError, ValueError, KeyError, TypeError):
        said = json.loads(remembered.read_text())
        if said["stamps"] == stamps:
            return str(said["revision"])
    revision = _hashed(files, folder)
    if stamps == [_stamp(file, folder) for file in files]:  # nobody wrote to them meanwhile
        with suppress(OSError):  # then the next process hashes them again
            memory.mkdir(parents=True, exist_ok=True)
            part = remembered.with_suffix(f".{path_hash}.part")
            part.write_text(json.dumps({"stamps": stamps, "revision": revision}))
            part.replace(remembered)
    return revision


def _parts(folder: Path) -> list[Path]:
    """Return it and the folders of its modules, if it has any: no others, which may be anything."""
    modules: list[Path] = []
    with suppress(ValueError):  # it is told when the encoder is opened
        modules = [module.folder for module in folders.modules_of(folder)]
    return [folder, *(part for part in modules if part != folder and part.is_dir())]


def _decides(file: Path) -> bool:
    return file.suffix in _SUFFIXES and file.is_file()


def _stamp(file: Path, folder: Path) -> list[str | int]:
    found = file.stat()
    name = str(file.relative_to(folder))
    # The time of change cannot be set by anybody, as that of modification can.
    return [name, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


def _hashed(files: list[Path], folder: Path) -> str:
    whole = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
            whole.update(f"{file.relative_to(folder)}:{sha256}".encode())
    return whole.hexdigest()[:40]
