"""Is a backup whole? All of it is read and every hash compared; nothing is restored."""

from __future__ import annotations

from gallery.backups.archive import Archive, Member
from gallery.backups.manifest import FileEntry
from gallery.backups.progress import Progress, step
from gallery.backups.reading import OpenBackup
from gallery.storage.flows import in_parallel


def check(backup: OpenBackup, *, threads: int, progress: Progress) -> None:
    """Read all of a backup. Raise BackupBroken for the first thing that is wrong."""
    with step(progress, "database", unit="part"):
        backup.parts()
    kept = backup.manifest.file_counts.kept
    with step(progress, "files", unit="file", total=kept):
        seen = 0
        for listed in backup.files():
            pairs = [
                (entry, listed.members[entry.name])
                for entry in listed.entries
                if entry.name in listed.members
            ]
            seen += sum(entry.is_kept for entry in listed.entries)
            for _ in in_parallel(lambda pair: prove(backup.archive, *pair), pairs, threads=threads):
                progress.advance()
    if seen != kept:
        raise backup.archive.broken(f"has {seen:,} files; its manifest says {kept:,}")


def prove(archive: Archive, entry: FileEntry, member: Member) -> None:
    """Raise BackupBroken unless a file has the bytes that its list says."""
    if archive.sha256_of(member) != entry.sha256:
        raise archive.broken(f"is damaged: {entry.name} has other bytes than it had")
