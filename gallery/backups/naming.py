"""Do restored rows name the files that the backup lists, and no others?"""

from __future__ import annotations

from gallery.backups.files import is_chosen
from gallery.backups.reading import OpenBackup, is_harmless
from gallery.storage.flows import side_by_side
from gallery.storage.listings import named_files


def check(backup: OpenBackup) -> None:
    """Raise BackupBroken for a file that a row names and no list: it may lead out of the storage.

    In the transaction of the rows, so that nothing of them is left.
    """
    choice = backup.manifest.files
    listed = (entry for part in backup.files() for entry in part.entries)
    for name, (named, entry) in side_by_side(named_files(), listed):
        if named is None or entry is not None:
            continue  # the lists may hold what this version names no more
        if is_chosen(named, choice) or not is_harmless(name):
            raise backup.archive.broken(f"has a row that names {name!r}, a file of no list")
