"""What one file is like among its owner's images: at once, by digests alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.contrib.auth.base_user import AbstractBaseUser
from django.db import OperationalError, connection
from django.db.models import F, Func, IntegerField, Value

from gallery import thumbnails
from gallery.digests import Digests
from gallery.duplicates import finding, verdicts
from gallery.errors import ImageRefused, StorageUnavailable
from gallery.models import DuplicateKind, Image, ImageQuerySet, OnDuplicates
from gallery.patience import took_too_long

if TYPE_CHECKING:
    from gallery.ingest import Added

# A quarter of what is a candidate for review: here no vector says whether it is one.
NEAR_BITS = 6
MOST = 5

# Not the lock of `grouping`: who holds that waits for rows that a new image may hold.
_LOCK = 0x6C696B65  # "like": class of the advisory locks, one an owner
BUSY = "Other files of yours are being compared with what you have. Send this one again soon."


@dataclass(frozen=True)
class Likeness:
    """An image that a file is like."""

    image: Image
    kind: DuplicateKind
    bits: int = 0  # in which the perceptual hashes differ


def like(digests: Digests, owner: AbstractBaseUser) -> list[Likeness]:
    """Return which of the owner's own images a file is like, the most alike first, at most five.

    Nobody else's image is looked at. Of the same bytes there is one image, and then only that is
    returned.
    """
    return _like(digests, Image.objects.filter(owner_id=owner.pk))


def like_image(image: Image) -> list[Likeness]:
    """Return what an image is like among the others of its owner, less what was told apart."""
    digests = Digests("", image.pixel_sha256, image.perceptual_hash)
    others = Image.objects.filter(owner_id=image.owner_id).exclude(pk=image.pk)
    apart = verdicts.told_apart(image.owner_id, image.sha256)
    return _like(digests, others.exclude(sha256__in=apart))


class LikeAnother(ImageRefused):
    """A new image shows what another of its owner's shows, and was not to be stored then."""

    def __init__(self, note: Note) -> None:
        super().__init__(f"{note.text} It was not stored.")
        self.image = note.image


def check(added: Added, wanted: OnDuplicates) -> None:
    """As the `note` of `ingest.add_image`: refuse a new image that shows what another shows.

    Large images are decoded wholly to prove that their pixels are the same. Raise LikeAnother,
    which undoes the storing, and StorageUnavailable where too many are checked at once.
    """
    if wanted == OnDuplicates.NOTE or not added.is_new:
        return
    _wait_for_turn(added.image.owner_id)
    alike = like_image(added.image)
    proofs = finding.Proofs()
    for found in alike:
        if found.kind != DuplicateKind.PIXELS:
            continue
        if _is_proven(added.image) or proofs.are_same(added.image.pk, found.image.pk):
            raise LikeAnother(_is_same_as(found.image))
    if alike and wanted == OnDuplicates.REFUSE_NEAR:
        raise LikeAnother(_looks_like(alike[0].image))


def _wait_for_turn(owner_id: int) -> None:
    """Let the owner's images be checked one after the other: each is committed before the next.

    Else two of the same pixels that come in together do not see each other.
    """
    try:
        with connection.cursor() as cursor:
            # The key has 32 bits; two owners that share one wait for each other, no more.
            cursor.execute(
                "SELECT pg_advisory_xact_lock(%s, %s::bigint::bit(32)::int)", [_LOCK, owner_id]
            )
    except OperationalError as error:
        if took_too_long(error):
            raise StorageUnavailable(BUSY) from error
        raise


@dataclass(frozen=True)
class Note:
    """What is told to the person who sent an image: a sentence, and the image it is about."""

    text: str
    image: Image


def note_of(added: Added) -> Note | None:
    """Return what a new image is like, as a sentence; None if it is like none."""
    first = next(iter(like_image(added.image)), None) if added.is_new else None
    if first is None:
        return None
    if first.kind == DuplicateKind.PIXELS and _is_proven(added.image):
        return _is_same_as(first.image)
    return _looks_like(first.image)


def _is_same_as(image: Image) -> Note:
    return Note(f"You have an image of the same pixels: {image}.", image)


def _looks_like(image: Image) -> Note:
    return Note(f"It looks much like {image}.", image)


def _is_proven(image: Image) -> bool:
    """Whether an equal sha256 of pixels means equal pixels: those of larger ones are of a copy."""
    return max(image.width, image.height) <= thumbnails.LARGE


def _like(digests: Digests, images: ImageQuerySet) -> list[Likeness]:
    if digests.sha256:
        held = images.filter(sha256=digests.sha256).first()
        if held is not None:
            return [Likeness(held, DuplicateKind.BYTES)]
    found: dict[int, Likeness] = {}
    if digests.pixel_sha256:
        for image in images.filter(pixel_sha256=digests.pixel_sha256).order_by("pk")[:MOST]:
            found[image.pk] = Likeness(image, DuplicateKind.PIXELS)
    if digests.perceptual_hash is not None and len(found) < MOST:
        for likeness in _near(digests.perceptual_hash, images):
            found.setdefault(likeness.image.pk, likeness)
    return list(found.values())[:MOST]


def _near(perceptual_hash: int, images: ImageQuerySet) -> list[Likeness]:
    bits = Func(
        F("perceptual_hash"),
        Value(perceptual_hash),
        template="bit_count((%(expressions)s::bigint)::bit(64))",
        arg_joiner=" # ",
        output_field=IntegerField(),
    )
    # The ids first: they and the hashes stand in one index, so no row is read for the others.
    near = images.filter(perceptual_hash__isnull=False).annotate(bits=bits)
    rows = near.filter(bits__lte=NEAR_BITS).order_by("bits", "pk").values_list("pk", "bits")
    bits_by_id = dict(rows[: 2 * MOST])
    found = Image.objects.in_bulk(list(bits_by_id))
    return [
        Likeness(found[pk], DuplicateKind.NEAR, bits)
        for pk, bits in bits_by_id.items()
        if pk in found
    ]
