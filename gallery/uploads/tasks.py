"""What happens to uploads by the clock."""

from __future__ import annotations

from celery import shared_task

from gallery.uploads import finishing


@shared_task
def tend_uploads() -> int:
    """Finish what has arrived and was left behind, and remove what nobody goes on with."""
    return finishing.finish_left_behind() + finishing.expire()
