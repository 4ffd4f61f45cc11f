"""Pages by key: the following page starts after the last image of this one, so nothing is
skipped or repeated when images come and go in between.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

from gallery.errors import QueryInvalid
from gallery.models import Image, ImageQuerySet

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def page(images: ImageQuerySet, *, k: int, after: str = "") -> tuple[list[Image], str | None]:
    """Return k images, newest first, and the key of the following page, None after the last."""
    images = images.order_by("-added_at", "-uuid")
    if after:
        added_at, last = _parsed(after)
        images = images.filter(added_at__lte=added_at).exclude(added_at=added_at, uuid__gte=last)
    found = list(images[: k + 1])
    return found[:k], _key(found[k - 1]) if len(found) > k else None


def _key(image: Image) -> str:
    return f"{(image.added_at - EPOCH) // MICROSECOND}.{image.uuid.hex}"


def _parsed(key: str) -> tuple[datetime, uuid.UUID]:
    microseconds, _, last = key.partition(".")
    try:
        return EPOCH + int(microseconds) * MICROSECOND, uuid.UUID(last)
    except (ValueError, OverflowError):
        raise QueryInvalid("after must be what an earlier answer gave as next.") from None
