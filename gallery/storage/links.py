"""Addresses that let a browser fetch one file from the bucket itself, for a while.

Whoever has such an address has the file: `views.files` looks at the viewer's rights first.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import NamedTuple

from django.conf import settings
from django.core.files.storage import Storage

from gallery.storage.addresses import BucketAddress
from gallery.storage.bucket import BucketStorage

MOST = 20_000  # of a process; some 20 MB
# Nobody is given an address in the last tenth of its life: a page has to have time to load.
_RESERVE = 10


class Link(NamedTuple):
    """A presigned address, and for how many seconds it may be kept and shown again."""

    url: str
    seconds: int


class Wanted(NamedTuple):
    """A file and how the bucket is to send it. All of it is signed."""

    name: str
    content_type: str
    disposition: str
    method: str


class _Links:
    """Addresses given lately: the same one again lets a browser use what it holds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._links: OrderedDict[tuple[BucketAddress, Wanted, int], tuple[str, float]]
        self._links = OrderedDict()

    def get(self, storage: BucketStorage, wanted: Wanted, life: int) -> Link:
        key = (storage.address, wanted, life)
        reserve = life / _RESERVE
        now = time.time()
        with self._lock:
            url, ends = self._links.get(key, ("", 0.0))
        # A clock that was set back must not lengthen an address's life.
        if not now + reserve < ends <= now + life:
            url, ends = _signed(storage, wanted, life), now + life
            self._keep(key, url, ends)
        return Link(url, max(int(ends - reserve - now), 0))

    def forget(self) -> None:
        with self._lock:
            self._links.clear()

    def _keep(self, key: tuple[BucketAddress, Wanted, int], url: str, ends: float) -> None:
        with self._lock:
            self._links[key] = (url, ends)
            self._links.move_to_end(key)
            while len(self._links) > MOST:
                self._links.popitem(last=False)


_links = _Links()


def link(storage: Storage, wanted: Wanted) -> Link | None:
    """Return an address of the file. None: the server itself has to send it.

    Raise BucketUnavailable when there are no keys to sign with.
    """
    life: int = settings.STORAGE_URL_SECONDS
    if life == 0 or not isinstance(storage, BucketStorage):
        return None
    return _links.get(storage, wanted, life)


def _signed(storage: BucketStorage, wanted: Wanted, life: int) -> str:
    parameters = {
        "ResponseContentType": wanted.content_type,
        "ResponseContentDisposition": wanted.disposition,
    }
    return storage.url(wanted.name, parameters, expire=life, http_method=wanted.method)
