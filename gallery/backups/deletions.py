"""What people delete while a backup is made does not come back with it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from embeddings.streams import read_ids
from embeddings.vectors import Ids
from gallery.backups.manifest import Gone
from gallery.models import Image, Video


class Held(NamedTuple):
    """The primary keys of all images and videos at one moment, eight bytes each."""

    images: Ids
    videos: Ids


def held() -> Held:
    return Held(read_ids(Image.objects.all()), read_ids(Video.objects.all()))


def since(before: Held) -> Gone:
    """Return what is not there any more. No key is ever given a second time."""
    now = held()
    return Gone(
        images=frozenset(np.setdiff1d(before.images, now.images).tolist()),
        videos=frozenset(np.setdiff1d(before.videos, now.videos).tolist()),
    )
