"""What can go wrong with a backup; each text is a sentence for the administrator."""

from __future__ import annotations

from gallery.errors import GalleryError


class BackupError(GalleryError):
    """Base of what ends a backup or a restore."""


class BackupNotMade(BackupError):
    """There is no backup, and nothing of one under the name that was asked for."""


class BackupBroken(BackupError):
    """A file is no whole backup: nothing of it can be trusted."""


class RestoreRefused(BackupError):
    """The backup does not fit here, or there is something here already."""


class RestoreStopped(BackupError):
    """A restore did not come to its end; the same command goes on."""
