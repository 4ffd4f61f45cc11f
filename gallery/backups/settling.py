"""What a restored gallery must not do by itself."""

from __future__ import annotations

from gallery import removal, subjects
from gallery.backups.manifest import Gone
from gallery.imports import ledger
from gallery.models import (
    Image,
    ImportRun,
    RunState,
    Upload,
    UploadSession,
    UploadState,
    Video,
)
from gallery.uploads import sessions


def let_go() -> None:
    """End what was under way when the backup was made; again it changes nothing.

    The old server may still be at it, and here may be neither its sources nor its uploads' bytes.
    """
    active = ImportRun.objects.filter(state__in=ledger.ACTIVE)
    active.update(state=RunState.PAUSED, failure="", lease_token=None, lease_until=None)
    arriving = Upload.objects.filter(state=UploadState.ARRIVING)
    begun = list(UploadSession.objects.filter(uploads__in=arriving).distinct())
    arriving.delete()
    for session in begun:
        sessions.announce(session, 0)
    for kind in subjects.ALL:
        held = kind.queue.jobs._default_manager.filter(lease_token__isnull=False)
        held.update(lease_token=None, lease_until=None)


def remove(gone: Gone) -> int:
    """Remove what people deleted while the backup was made. Return how many images."""
    n = removal.delete_videos(Video.objects.filter(pk__in=gone.videos))
    return n + removal.delete_images(Image.objects.filter(pk__in=gone.images))
