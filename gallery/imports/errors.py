"""What can go wrong with an import beside its items; each text is a sentence to show."""

from __future__ import annotations

from gallery.errors import GalleryError


class ImportInvalid(GalleryError):
    """What was sent to be imported is nothing that can be."""


class TooMuchSent(ImportInvalid):
    """One user has sent more than is kept of him."""


class ImportRefused(GalleryError):
    """What is asked of an import cannot be done in the state that it is in."""


class ImportBusy(GalleryError):
    """Another process works on the import, or there is nothing to be done for it."""


class LeaseLost(GalleryError):
    """The import went to another process, which took this one for dead."""


class DatabaseAway(GalleryError):
    """Postgres did not answer for longer than an import waits."""
