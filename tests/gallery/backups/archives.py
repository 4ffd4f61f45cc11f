"""Backups that somebody has tampered with: right in form, wrong in what they hold."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gallery.backups import manifest, reading
from gallery.backups.archive import BLOCK, Writer

Change = Callable[[str, bytes], tuple[str, bytes] | None]
Edit = Callable[[dict[str, Any]], None]


def unchanged(name: str, content: bytes) -> tuple[str, bytes]:
    return name, content


def no_edit(_: dict[str, Any]) -> None: ...


def forge(source: Path, target: Path, change: Change = unchanged, edit: Edit = no_edit) -> Path:
    """Write a copy with other members and another manifest, every hash as it should be.

    `change` is given each member in its turn and returns what takes its place, None for nothing.
    """
    with reading.opened(source) as backup, target.open("wb") as out:
        writer = Writer(out)
        known = json.loads(manifest.written(backup.manifest))
        parts = {one["name"]: one for one in known["lists"]}
        parts |= {one["name"]: one for table in known["tables"] for one in table["parts"]}
        position = 0
        while (member := backup.archive.member_at(position)).name != manifest.MANIFEST:
            position = member.end
            content = b"".join(backup.archive.pieces(member))
            changed = change(member.name, content)
            if changed is None:
                continue
            writer.add(*changed)
            if member.name in parts:
                sha256 = hashlib.sha256(changed[1]).hexdigest()
                parts[member.name] |= {
                    "name": changed[0], "bytes": len(changed[1]), "sha256": sha256
                }  # fmt: skip
        edit(known)
        finish(writer, json.dumps(known).encode())
    return target


def finish(writer: Writer, content: bytes) -> None:
    at = writer.position
    sha256 = writer.add(manifest.MANIFEST, content)
    end = manifest.End(format=1, manifest_at=at, manifest_sha256=sha256)
    writer.add(manifest.END, manifest.written(end).ljust(BLOCK))
    writer.finish()


def members(path: Path) -> list[tuple[str, int, int]]:
    """Return name, place and length of every member."""
    found = []
    with reading.opened(path) as backup:
        position = 0
        while position < backup.archive.size - 2 * BLOCK:
            member = backup.archive.member_at(position)
            found.append((member.name, member.offset, member.bytes))
            position = member.end
    return found
