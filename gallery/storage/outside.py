"""Are the originals that lie in places of others still there, and still the same?"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

from django.db import connection
from django.db.models import Exists, OuterRef

from gallery.errors import StorageUnavailable
from gallery.models import Place, Reference
from gallery.storage import places
from gallery.storage.flows import in_parallel
from gallery.storage.hashes import wrong_bytes
from gallery.storage.originals import Original
from gallery.storage.places import Known

_PAGE = 2000
_KNOWN = (
    "SELECT r.image_id, r.key, r.version, i.sha256 FROM gallery_reference r "
    "JOIN gallery_image i ON i.id = r.image_id "
    'WHERE r.place_id = %s ORDER BY r.key COLLATE "C", r.image_id'
)


class PlacesUnread(StorageUnavailable):
    """Some places could not be read, a sentence each. Of their files nothing is known."""

    def __init__(self, sentences: list[str]) -> None:
        super().__init__(" ".join(sentences))
        self.sentences = sentences


class Seen(NamedTuple):
    """A referenced original that was looked at, and what is wrong with it: "" is nothing."""

    known: Known
    name: str  # with its place, for people
    reason: str
    is_missing: bool = False


def count() -> int:
    return Reference.objects.count()


def look(*, hashes: bool, threads: int) -> Iterator[Seen]:
    """Look at every referenced original; with `hashes`, read it.

    A place that cannot be read says nothing of its files: the others are looked at all the same,
    and PlacesUnread is raised at the end.
    """
    unread = []
    # Of a place that nothing lies in any more nobody needs to know whether it is still there.
    in_use = Exists(Reference.objects.filter(place=OuterRef("pk")))
    for place in Place.objects.filter(in_use).order_by("pk"):
        try:
            yield from _look_into(place, hashes=hashes, threads=threads)
        except OSError as error:
            unread.append(f"The place {place} cannot be read: {error.strerror or error}.")
    if unread:
        raise PlacesUnread(unread)


def is_known(seen: Seen) -> bool:
    """Say whether the image still refers to what was looked at."""
    known = seen.known
    rows = Reference.objects.filter(pk=known.id, key=known.key, version=known.version)
    return rows.exists()


def _look_into(place: Place, *, hashes: bool, threads: int) -> Iterator[Seen]:
    where = places.place_of(
        Original(address=place.address, key="", version="", is_anonymous=place.is_anonymous)
    )
    seen = partial(_seen, where, f"{place}/", hashes=hashes)
    # Without hashes there is nothing to wait for but the list.
    yield from in_parallel(seen, where.versions(_known(place)), threads=threads if hashes else 1)


def _seen(where: places.Place, start: str, pair: tuple[Known, str], *, hashes: bool) -> Seen:
    known, version = pair
    name = f"{start}{known.key}"
    if not version:
        return Seen(known, name, "It is not in its place any more.", is_missing=True)
    if version != known.version:
        return Seen(known, name, "Another file has taken its place.")
    opened = partial(where.open, known.key, known.version)
    return Seen(known, name, wrong_bytes(opened, known.sha256) if hashes else "")


def _known(place: Place) -> Iterator[Known]:
    with connection.chunked_cursor() as cursor:
        cursor.execute(_KNOWN, [place.pk])
        while rows := cursor.fetchmany(_PAGE):
            for row in rows:
                yield Known(*row)
