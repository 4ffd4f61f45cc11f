"""The original of an image, wherever it lies: a file of the gallery's own, or one of a place."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Protocol, cast

from django.core.files.base import File
from django.db.models import QuerySet

from gallery import errnos
from gallery.errors import StorageUnavailable
from gallery.models import Image, Place, Reference
from gallery.storage import links, places
from gallery.storage.clients import BucketUnavailable
from gallery.storage.links import Link, Wanted
from gallery.storage.originals import Original

if TYPE_CHECKING:
    from django.db.models.fields.files import FieldFile

log = logging.getLogger(__name__)

# What has to be read with an image, so that a thread may open it without asking the database.
FIELDS = (
    *("pk", "file", "reference__key", "reference__version", "reference__place__address"),
    "reference__place__is_anonymous",
)
# No file is at fault.
_PASSING = errnos.LACK | errnos.AWAY | {errno.EAGAIN, errno.EINTR}


class Sendable(Protocol):
    """A file that may be sent to a browser. What it raises for a file that is gone is FileNotFound.

    All of it may raise OSError.
    """

    def link(self, wanted: Wanted) -> Link | None:
        """Return an address by which a browser fetches it. None: the server has to send it."""
        ...

    def open(self) -> File[bytes]: ...


@dataclass(frozen=True)
class Stored:
    """A file of the gallery's own."""

    file: FieldFile

    def link(self, wanted: Wanted) -> Link | None:
        return links.link(self.file.storage, wanted)

    def open(self) -> File[bytes]:
        return cast("File[bytes]", self.file.open("rb"))


@dataclass(frozen=True)
class Referenced:
    """A file that lies in a place of others."""

    original: Original

    def link(self, wanted: Wanted) -> Link | None:
        known = self.original
        return places.place_of(known).link(known.key, known.version, wanted)

    def open(self) -> File[bytes]:
        known = self.original
        return File(places.place_of(known).open(known.key, known.version))


def with_places(images: QuerySet[Image]) -> QuerySet[Image]:
    """Read with images where their originals are, and let no later question be necessary."""
    return images.select_related("reference__place")


def of(image: Image) -> Stored | Referenced:
    """Return the original of an image."""
    reference: Reference | None = getattr(image, "reference", None)
    if reference is None:
        return Stored(image.file)
    return Referenced(_original(reference))


@contextmanager
def opened(image: Image) -> Iterator[IO[bytes]]:
    """Give the bytes of an original. Raise FileNotFoundError, or another OSError."""
    with of(image).open() as file:
        yield cast("IO[bytes]", file)


def is_there(image: Image) -> bool:
    """Say whether the original is where it is known to be. Raise OSError where nobody can tell."""
    original = of(image)
    if isinstance(original, Stored):
        name = original.file.name
        return bool(name) and original.file.storage.exists(str(name))
    known = original.original
    try:
        return places.place_of(known).version(known.key) == known.version
    except FileNotFoundError:
        return False


def refer(image: Image, original: Original) -> None:
    """Write down where the original of a new image lies. It has no file of its own then."""
    Reference.objects.create(
        image=image, place=_place(original), key=original.key, version=original.version
    )


def follow(image: Image, original: Original) -> None:
    """Refer to an original where the same bytes were found now, if the one before is lost.

    So a file that was moved, renamed or written anew is found again by the next import.
    """
    reference: Reference | None = getattr(image, "reference", None)
    if reference is None or _original(reference) == original or not is_lost(image):
        return
    Reference.objects.filter(pk=reference.pk).update(
        place=_place(original), key=original.key, version=original.version
    )


def is_lost(image: Image) -> bool:
    """Whether the original lies in a place of others, and is known to be there no more."""
    if getattr(image, "reference", None) is None:
        return False
    try:
        return not is_there(image)
    except OSError as error:
        log.warning("The original of image %d cannot be looked at now: %s", image.pk, error)
        return False


def keep(image: Image, name: str) -> bool:
    """Let a file of the gallery's own be the original that is lost in a place of others.

    Return whether it is: someone else may have found the original again, or deleted the image.
    In a transaction.
    """
    lost = Reference.objects.filter(
        pk=image.pk, key=image.reference.key, version=image.reference.version
    )
    # The image first, as whoever deletes it does.
    if not Image.objects.select_for_update(of=("self",)).filter(pk=image.pk).exists():
        return False
    if not lost.delete()[0]:
        return False
    Image.objects.filter(pk=image.pk).update(file=name)
    image.file.name = name
    return True


def _place(original: Original) -> Place:
    place, _ = Place.objects.get_or_create(
        address=original.address, is_anonymous=original.is_anonymous
    )
    return place


def _original(reference: Reference) -> Original:
    return Original(
        address=reference.place.address,
        key=reference.key,
        version=reference.version,
        is_anonymous=reference.place.is_anonymous,
    )


def is_passing(error: OSError | StorageUnavailable) -> bool:
    """Whether an original could not be read for a reason that is not its own, and may pass."""
    if isinstance(error, BucketUnavailable):
        # Wrong keys concern all files: they wait. What is refused of one is a fault of that one.
        return not error.is_refused
    return isinstance(error, StorageUnavailable) or error.errno in _PASSING
