"""Verdicts as a person reads them, and taking one back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models import Q

from gallery.duplicates import grouping
from gallery.models import DuplicateCheck, DuplicateVerdict, Image, Verdict

if TYPE_CHECKING:
    from django.contrib.auth.models import User

LATEST = 100


@dataclass(frozen=True)
class Told:
    """A verdict with the images that are still there of its two files."""

    verdict: DuplicateVerdict
    images: tuple[Image, ...]


def latest(viewer: User) -> list[Told]:
    """Return the verdicts about the viewer's own images, the latest first."""
    verdicts = list(DuplicateVerdict.objects.filter(owner=viewer)[:LATEST])
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
    DuplicateCheck.objects.bulk_create(
        [DuplicateCheck(image=image) for image in images.only("pk")], ignore_conflicts=True
    )
    return True
