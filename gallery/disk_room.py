"""Room on the disk of this machine: some of it is left to all else, such as the database."""

from __future__ import annotations

import shutil
from pathlib import Path

from django.conf import settings
from django.db.models import F, Sum

from gallery.errors import StorageUnavailable
from gallery.models import Upload, UploadState

FULL = "The server's disk is nearly full. Try again later."


def check(folder: Path, size: int) -> None:
    """Raise StorageUnavailable where so many bytes more in a folder would leave too little room.

    What of begun uploads is still to come counts as if it were here.
    """
    arriving = Upload.objects.filter(state=UploadState.ARRIVING)
    to_come = arriving.aggregate(bytes=Sum(F("bytes") - F("received"), default=0))["bytes"]
    if _free(folder) < size + to_come + settings.UPLOAD_FREE_BYTES:
        raise StorageUnavailable(FULL)


def check_left(folder: Path) -> None:
    """Raise StorageUnavailable where too little room is left: quick, for a copy under way."""
    if _free(folder) < settings.UPLOAD_FREE_BYTES:
        raise StorageUnavailable(FULL)


def _free(folder: Path) -> int:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
