"""Reading a backup: its manifest first, then all of it from the beginning, every hash compared."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from gallery.backups import archive, manifest
from gallery.backups.archive import BLOCK, NO_BACKUP, TRAILER, Archive, Member
from gallery.backups.errors import BackupBroken
from gallery.backups.manifest import (
    DATABASE,
    FILES,
    LIST_FILES,
    MAX_LIST_BYTES,
    MAX_MANIFEST_BYTES,
    End,
    FileChoice,
    FileEntry,
    Manifest,
    Part,
    Start,
)
from gallery.storage.flows import in_order

_ENDS = "does not end as a backup does: it was cut off, or something stands behind its end"


@dataclass(frozen=True)
class Listed:
    """Some files of the archive, with what their list says of them."""

    entries: list[FileEntry]
    members: dict[str, Member] = field(default_factory=dict)  # by name; none where only listed


@dataclass(frozen=True)
class OpenBackup:
    """A backup whose manifest was read and is whole."""

    archive: Archive
    manifest: Manifest
    manifest_at: int
    first: int  # where the members behind the start begin

    def parts(self) -> dict[str, Member]:
        """Return the parts of all tables by name, each with the hash that the manifest says.

        Raise BackupBroken.
        """
        members: dict[str, Member] = {}
        position = self.first
        for part in (part for table in self.manifest.tables for part in table.parts):
            member = self._expected(part, position)
            if self.archive.sha256_of(member) != part.sha256:
                raise self.archive.broken(f"is damaged: {part.name} has other bytes than it had")
            members[part.name] = member
            position = member.end
        return members

    def files(self) -> Iterator[Listed]:
        """Yield the files, list by list; their own hashes are left to whoever reads them.

        Raise BackupBroken, at the end also for what does not belong there.
        """
        parts = [part for table in self.manifest.tables for part in table.parts]
        position = self.first + sum(BLOCK + -(-part.bytes // BLOCK) * BLOCK for part in parts)
        last = ""
        for part in self.manifest.lists:
            members, position = self._members(position)
            listed = self._list(part, position, members)
            for entry in listed.entries:
                if last and in_order(entry.name) <= in_order(last):
                    raise self.archive.broken("lists its files in no order")
                last = entry.name
            yield listed
            position = self.archive.member_at(position).end
        if position != self.manifest_at:
            raise self.archive.broken("holds more than its manifest says")

    def _members(self, position: int) -> tuple[dict[str, Member], int]:
        """Return the files from a position on, by name, and where they end."""
        members: dict[str, Member] = {}
        while len(members) <= LIST_FILES:
            member = self.archive.member_at(position)
            if not member.name.startswith(f"{FILES}/"):
                return members, position
            members[member.name.removeprefix(f"{FILES}/")] = member
            position = member.end
        raise self.archive.broken("has files that are on no list")

    def _list(self, part: Part, position: int, members: dict[str, Member]) -> Listed:
        member = self._expected(part, position)
        content = self.archive.read(member, at_most=MAX_LIST_BYTES)
        if self.archive.sha256_of(member) != part.sha256:
            raise self.archive.broken(f"is damaged: {part.name} has other bytes than it had")
        entries = manifest.read_list(content)
        if len(entries) > LIST_FILES:
            raise self.archive.broken(f"has a list of {len(entries):,} files")
        for entry in entries:
            if not is_harmless(entry.name):
                raise self.archive.broken(f"has a file of the name {entry.name!r}")
        if self.manifest.files == FileChoice.LIST:
            if members:
                raise self.archive.broken("has files, and says that it has none")
            return Listed(entries)
        expected = {one.name: one.bytes for one in entries if one.is_kept}
        if expected != {name: member.bytes for name, member in members.items()}:
            raise self.archive.broken(f"has other files than {part.name} says")
        return Listed(entries, members)

    def _expected(self, part: Part, position: int) -> Member:
        member = self.archive.member_at(position)
        if member.name != part.name or member.bytes != part.bytes:
            raise self.archive.broken(f"has {member.name!r} where {part.name} should be")
        return member


@contextmanager
def opened(path: Path) -> Iterator[OpenBackup]:
    """Open a backup to read. Raise BackupBroken when it is none, or not whole."""
    with archive.opened(path) as found:
        start = _start(found)
        end_at = found.size - len(TRAILER) - 2 * BLOCK
        if (
            end_at <= start.end
            or found.bytes_at(found.size - len(TRAILER), len(TRAILER)) != TRAILER
        ):
            raise found.broken(_ENDS)
        last = _last(found, end_at)
        end = manifest.read(End, found.read(last, at_most=BLOCK), of="end")
        member = found.member_at(end.manifest_at)
        if member.name != manifest.MANIFEST or member.end != end_at:
            raise found.broken("has no manifest where its end says")
        content = found.read(member, at_most=MAX_MANIFEST_BYTES)
        if found.sha256_of(member) != end.manifest_sha256:
            raise found.broken("is damaged: its manifest has other bytes than it had")
        read = manifest.read(Manifest, content, of="manifest")
        _check_parts(read, found)
        yield OpenBackup(found, read, end.manifest_at, start.end)


def is_harmless(name: str) -> bool:
    """Whether a name leads to a file below a folder of the storage, and to nowhere else."""
    parts = PurePosixPath(name).parts
    return (
        len(parts) > 1
        and not name.startswith("/")
        and "/".join(parts) == name
        and not {"..", "."} & set(parts)
        and "\\" not in name
        and name.isprintable()
        and len(name) <= 255
    )


def _start(found: Archive) -> Member:
    try:
        member = found.member_at(0)
    except BackupBroken as error:
        raise found.broken(NO_BACKUP) from error
    if member.name != manifest.START:
        raise found.broken(NO_BACKUP)
    start = manifest.read(Start, found.read(member, at_most=8 * BLOCK), of="start")
    if start.format != manifest.FORMAT:
        raise found.broken(
            f"is a backup of form {start.format}; this version reads form {manifest.FORMAT}"
        )
    return member


def _last(found: Archive, end_at: int) -> Member:
    try:
        member = found.member_at(end_at)
    except BackupBroken as error:
        raise found.broken(_ENDS) from error
    if member.name != manifest.END or member.bytes != BLOCK:
        raise found.broken(_ENDS)
    return member


def _check_parts(read: Manifest, found: Archive) -> None:
    for table in read.tables:
        for part in table.parts:
            if not part.name.startswith(f"{DATABASE}/{table.name}/"):
                raise found.broken(f"has {part.name!r} as a part of {table.name}")
