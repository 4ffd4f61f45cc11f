"""Verdicts as a person reads them, and taking one back."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models import Q

from gallery.duplicates import grouping
from gallery.models import DuplicateCheck, DuplicateVerdict, Image, Verdict

if TYPE_CHECKING:
    from django.contrib.auth.models import User

AT_ONCE = 50

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Told:
    """A verdict with the images that are still there of its two files."""

    verdict: DuplicateVerdict
    images: tuple[Image, ...]


@dataclass(frozen=True)
class Place:
    """Where a page of verdicts begins: behind one that was decided then."""

    decided_at: datetime
    pk: int

    def __str__(self) -> str:
        return f"{(self.decided_at - _EPOCH) // timedelta(microseconds=1)}-{self.pk}"

    @classmethod
    def read(cls, written: str) -> Place | None:
        """Return the place that `str` has written; None for what is none."""
        numbers = re.fullmatch(r"([0-9]{1,17})-([0-9]{1,18})", written, re.ASCII)
        if numbers is None:
            return None
        return cls(_EPOCH + timedelta(microseconds=int(numbers[1])), int(numbers[2]))


@dataclass(frozen=True)
class TellingPage:
    """Some verdicts, the latest first, and where the following ones begin."""

    told: list[Told]
    next: Place | None


def page(viewer: User, after: Place | None = None) -> TellingPage:
    """Return verdicts about the viewer's own images, from those behind `after` on."""
    verdicts = DuplicateVerdict.objects.filter(owner=viewer)
    if after is not None:
        behind = Q(decided_at=after.decided_at, pk__lt=after.pk)
        verdicts = verdicts.filter(behind | Q(decided_at__lt=after.decided_at))
    some = list(verdicts[: AT_ONCE + 1])
    last = some[AT_ONCE - 1] if len(some) > AT_ONCE else None
    return TellingPage(
        told=_told(viewer, some[:AT_ONCE]), next=Place(last.decided_at, last.pk) if last else None
    )


def _told(viewer: User, verdicts: list[DuplicateVerdict]) -> list[Told]:
    named = {sha for one in verdicts for sha in (one.first_sha256, one.second_sha256)}
    images = Image.objects.filter(owner=viewer, sha256__in=named).defer("full_text")
    by_sha = {image.sha256: image for image in images}
    return [
        Told(
            one,
            tuple(by_sha[s] for s in (one.first_sha256, one.second_sha256) if s in by_sha),
        )
        for one in verdicts
    ]


@transaction.atomic
def forget(viewer: User, pk: int) -> bool:
    """Take a verdict back and compare its images again; return whether there was one.

    A version is linked no longer. What was replaced does not come back: its file is gone, but it
    may be sent again.
    """
    grouping.lock(viewer.pk)
    verdict = DuplicateVerdict.objects.filter(owner=viewer, pk=pk).first()
    if verdict is None:
        return False
    both = (verdict.first_sha256, verdict.second_sha256)
    images = Image.objects.filter(owner=viewer, sha256__in=both)
    if verdict.verdict == Verdict.LINKED:
        main = Q(version_of__sha256=verdict.kept_sha256)
        linked = images.filter(main).values_list("pk", flat=True)
        Image.objects.filter(pk__in=list(linked)).update(version_of=None)
    verdict.delete()
    # Who compares one of them just now may have read the verdict: it is taken out of their hands.
    DuplicateCheck.objects.bulk_create(
        [DuplicateCheck(image=image) for image in images.only("pk")],
        update_conflicts=True,
        unique_fields=["image"],
        update_fields=["attempts", "lease_until"],
    )
    return True
